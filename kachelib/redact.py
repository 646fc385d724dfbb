"""What of a value may be shown to a person: not what looks like a secret.

Owns the rule by which a name, or a value, is taken for one. A secret is shown
as a digest, which still tells whether it changed.
"""

import re

from kachelib.entry import EnvDep
from kachelib.key import digest_bytes

_SECRET_WORDS = frozenset(
    ("APIKEYS", "AUTH", "CREDENTIAL", "CREDENTIALS", "DSN", "KEYS", "PASS", "PASSPHRASE", "PASSWD", "PAT", "SECRETS")
)
_SECRET_ENDINGS = ("KEY", "PASSWORD", "SECRET", "TOKEN", "TOKENS")

MASK = "***"

# user:password@ in a URL
_USERINFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def is_secret(name: str) -> bool:
    """Whether a variable of that name may hold a secret."""
    words = re.split(r"[^A-Z0-9]+", name.upper())
    return any(word in _SECRET_WORDS or word.endswith(_SECRET_ENDINGS) for word in words)


def shown(name: str, value: str) -> str:
    """``value`` of the variable ``name`` as it may be shown."""
    if value and is_secret(name):
        return f"(hidden, digest {digest_bytes(value.encode('utf-8', 'surrogateescape'))[:12]})"
    return _USERINFO.sub("***", value)


def shown_env(dep: EnvDep) -> str:
    """A recorded environment variable as it may be shown."""
    return "(not set)" if dep.state == "-" else shown(dep.name, dep.value)


def mask_url(url: str) -> str:
    """``url`` without user, password, query and fragment, each of which may hold a secret."""
    scheme, separator, rest = url.partition("://")
    if not separator or not scheme.isalnum():
        scheme, separator, rest = "", "", url
    # A password that is not encoded may hold any of "/?#": hide too much rather than too little.
    _, at, place = rest.rpartition("@")
    if at:
        rest = MASK + "@" + place
    for mark in "?#":
        head, found, _ = rest.partition(mark)
        rest = head + (mark + MASK if found else "")
    return scheme + separator + rest
