"""reach: doctor waits only so long, and says what the keys of signatures mean together."""

import threading
from typing import Dict, List, Tuple

import pytest

from kachelib import config, reach, signing
from kachelib.outcome import ConfigError
from kachelib.remote import RemoteError, Unreachable


def settings(signing_key: str = "", trusted: "Tuple[str, ...]" = (), **env: str) -> config.Settings:
    environ: Dict[str, str] = {"HOME": "/nowhere", **env}
    if signing_key:
        environ["KACHE_REMOTE_SIGNING_KEY"] = signing_key
    if trusted:
        environ["KACHE_REMOTE_TRUSTED_KEYS"] = " ".join(trusted)
    return config.load(environ, ("/",))


def said(found: config.Settings) -> "List[Tuple[str, str, str]]":
    return [(each.status, each.message, each.hint) for each in reach.check_signatures(found)]


def test_work_in_time_gives_what_it_returns_or_raises() -> None:
    def refuse() -> None:
        raise RemoteError("no")

    assert reach.in_time(lambda: 3) == 3
    with pytest.raises(RemoteError, match="no"):
        reach.in_time(refuse)


def test_work_that_does_not_end_is_left_to_itself() -> None:
    forever = threading.Event()
    with pytest.raises(Unreachable, match="no answer within 0 s"):
        reach.in_time(forever.wait, 0.1)
    forever.set()


def test_without_keys_nothing_is_said_of_signatures() -> None:
    assert said(settings()) == []


def test_a_key_to_sign_with_that_is_trusted_is_well() -> None:
    secret, public = signing.generate("ci-1")
    _, other = signing.generate("ci-2")
    assert said(settings(secret, (other, public))) == [("ok", "signs as ci-1; believes ci-1, ci-2", "")]


def test_a_key_to_sign_with_that_is_not_trusted_is_a_warning() -> None:
    """Of the same name, but another key: the name says nothing."""
    secret, public = signing.generate("ci-1")
    _, other = signing.generate("ci-1")
    [(status, message, hint)] = said(settings(secret, (other,)))
    assert status == "warning"
    assert message == "signs as ci-1, and trusts another key of that name"
    assert public in hint
    assert secret not in message + hint


def test_signing_alone_and_believing_alone_say_what_that_means() -> None:
    secret, public = signing.generate("ci-1")
    [(status, message, _)] = said(settings(secret))
    assert status == "ok"
    assert message == "signs as ci-1; believes ci-1"
    [(status, message, _)] = said(settings(trusted=(public,)))
    assert (status, message) == (
        "ok",
        "believes ci-1; signs nothing, so others who do the same miss what it pushes",
    )
    [(status, message, _)] = said(settings(trusted=(public,), KACHE_REMOTE_READONLY="1"))
    assert (status, message) == ("ok", "believes ci-1")


def halves_of_two() -> str:
    data = [signing.parse(signing.generate("x")[0], signing.SECRET, "")[1] for _ in range(2)]
    return signing.join("x", data[0][: signing.SEED] + data[1][signing.SEED :])


NOT_KEYS = {
    "rubbish to sign with": (("rubbish:x", ()), "cache.remote.signing_key: give NAME:BASE64"),
    "no such file": (("/nowhere/key", ()), "cache.remote.signing_key: /nowhere/key cannot be read"),
    "halves of two keys": ((halves_of_two(), ()), "cache.remote.signing_key: its two halves do not belong together"),
    "rubbish to trust": (("", ("rubbish",)), "cache.remote.trusted_keys: give NAME:BASE64"),
    # not a point of the curve: RFC 8032, 5.1.3
    "bytes that are no key": (
        ("", (signing.join("x", b"\x02" + bytes(31)),)),
        "cache.remote.trusted_keys: x: these bytes are no Ed25519 key",
    ),
}


@pytest.mark.parametrize("name", NOT_KEYS)
def test_what_is_no_key_is_a_problem(name: str) -> None:
    (secret, trusted), words = NOT_KEYS[name]
    found = settings(secret, trusted)
    [(status, message, hint)] = said(found)
    assert status == "problem"
    assert message.startswith(words), message
    assert "\n" not in message
    assert not secret or secret.startswith("/") or secret.partition(":")[2] not in message + hint
    # and so it ends a sync: an error of the configuration, in one line
    with pytest.raises(ConfigError):
        signing.Keyring(found)
