"""Signatures of what travels: who wrote it, where a remote is written by more than those one trusts.

Owns the text of keys and signatures, as Nix writes them (``name:base64``), and which signatures count. The arithmetic
is a library's, loaded only where a key is configured. RFC 8032 has Ed25519.

    secret key  = name ":" base64(seed public-key)      64 bytes, as libsodium and Nix keep it
    public key  = name ":" base64(public-key)           32 bytes
    signature   = name ":" base64(signature)            64 bytes
"""

import base64
import binascii
import os
from typing import Any, Dict, List, Tuple

from kachelib import bundle
from kachelib.config import Settings
from kachelib.outcome import ConfigError
from kachelib.pack import Head, signed_text
from kachelib.store import read_file

SEED = 32
SECRET = 64
PUBLIC = 32
SIGNATURE = 64


class Keyring:
    """The key that this machine signs with, and those that it trusts: its own among them. Raises ConfigError for one
    that is none."""

    def __init__(self, settings: Settings) -> None:
        self._secret: Tuple[str, Any] = ("", None)
        self._trusted: Dict[str, Any] = {}
        if settings.remote_signing_key:
            name, data = parse(_secret_text(settings.remote_signing_key), SECRET, "cache.remote.signing_key")
            self._secret = (name, _library().import_private_key(data[:SEED]))
            if self.own() != join(name, data[SEED:]):
                raise ConfigError("cache.remote.signing_key: its two halves do not belong together")
        for text in settings.remote_trusted_keys:
            name, data = parse(text, PUBLIC, "cache.remote.trusted_keys")
            try:
                self._trusted[name] = _library().import_public_key(data)
            except ValueError:
                raise ConfigError(f"cache.remote.trusted_keys: {name}: these bytes are no Ed25519 key") from None
        if self.own():
            # What is built upon is signed: it must not be what anybody could have put there.
            name, data = parse(self.own(), PUBLIC, "cache.remote.signing_key")
            self._trusted.setdefault(name, _library().import_public_key(data))

    def signs(self) -> bool:
        """Whether this machine has a key to sign with."""
        return bool(self._secret[0])

    def own(self) -> str:
        """The public half of the key that this machine signs with; "" without one."""
        name, key = self._secret
        return join(name, key.public_key().export_key(format="raw")) if name else ""

    def trusted(self) -> List[str]:
        """The public keys that are trusted."""
        return [join(name, key.export_key(format="raw")) for name, key in self._trusted.items()]

    def sign(self, metadata: bytes) -> List[str]:
        """The signature lines for a pack with that metadata; none without a key."""
        name, key = self._secret
        if not name:
            return []
        made = _library().new(key, "rfc8032").sign(signed_text(metadata))
        return [join(name, made)]

    def objection(self, head: Head) -> str:
        """Why a pack is not believed; "" where it is, or where nobody asked for signatures."""
        if not self._trusted:
            return ""
        found = False
        for line in head.signatures:
            try:
                name, signature = parse(line, SIGNATURE, "signature")
            except ConfigError:
                continue
            key = self._trusted.get(name)
            if key is None:
                continue
            found = True
            try:
                _library().new(key, "rfc8032").verify(signed_text(head.metadata), signature)
                return ""
            except ValueError:
                continue
        if found:
            return "its signature is wrong"
        return "it is signed with no key that is trusted here" if head.signatures else "it is not signed"


def generate(name: str) -> Tuple[str, str]:
    """A new pair of keys: the secret one, the public one. Raises ConfigError for a name that cannot be one."""
    if not name or ":" in name or not name.isprintable() or any(char.isspace() for char in name):
        raise ConfigError("a key's name is a word without ':'; ci.example.org-1 for one")
    seed = os.urandom(SEED)
    public = _public_of(seed)
    return join(name, seed + public), join(name, public)


def public_of(secret: str) -> str:
    """The public key of a secret one. Raises ConfigError."""
    name, data = parse(secret, SECRET, "the secret key")
    return join(name, _public_of(data[:SEED]))


def _public_of(seed: bytes) -> bytes:
    found: bytes = _library().import_private_key(seed).public_key().export_key(format="raw")
    return found


def join(name: str, data: bytes) -> str:
    """The text of a key or signature."""
    return name + ":" + base64.b64encode(data).decode()


def parse(text: str, size: int, what: str) -> Tuple[str, bytes]:
    """Name and bytes of a key or signature. Raises ConfigError, which does not show the text."""
    name, _, rest = text.strip().partition(":")
    try:
        data = base64.b64decode(rest, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not name or len(data) != size:
        raise ConfigError(f"{what}: give NAME:BASE64 with {size} bytes; 'kache key generate NAME' makes a pair")
    return name, data


def _secret_text(value: str) -> str:
    """The key itself, or the path of the file that holds it."""
    if ":" in value and not value.startswith(("/", "~")):
        return value
    path = os.path.expanduser(value)
    data = read_file(path)
    if data is None:
        raise ConfigError(f"cache.remote.signing_key: {path} cannot be read")
    return data.decode("utf-8", "replace")


def _library() -> Any:
    bundle.ensure_importable("Crypto")
    from Crypto.Signature import eddsa

    return eddsa
