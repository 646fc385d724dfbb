"""The reach: what this machine may do with the remote, tried out with a small object of its own.

Owns doctor's part about the remote: the credentials, each operation, and the keys of signatures. Leaves nothing there
that it is allowed to remove. Knows nothing of packs, and shows no secret: only where one comes from.
"""

import contextlib
import io
import itertools
import os
import queue
import threading
from typing import Callable, Iterator, Optional, Tuple, TypeVar

from kachelib import console, remote, signing, transfer
from kachelib.checks import OK, PROBLEM, WARNING, Finding
from kachelib.config import Settings
from kachelib.outcome import KacheError
from kachelib.remote import ABSENT, Forbidden, Limits, Listed, Missing, Remote, RemoteError, Unreachable

# A person waits.
LIMITS = Limits(connect=5.0, read=10.0, attempts=1)

# What has no limit of its own: a name that is looked up, credentials from elsewhere, a disk that went away.
STEP_SECONDS = 20.0

# One page of a listing.
MOST_LISTED = 1000

CONTENT = b"kache doctor tried whether it may write here; this can be deleted\n"

T = TypeVar("T")


def findings(settings: Settings) -> Iterator[Finding]:
    """What the remote lets this machine do; nothing where none is configured."""
    if not remote.is_configured(settings):
        return
    yield from check_signatures(settings)
    there = remote.open_remote(settings, LIMITS)
    yield from Attempt(there, settings).findings()
    with contextlib.suppress(RemoteError):
        in_time(there.close, 1.0)


class Attempt:
    """One round over a remote: list, put, get, delete; without put and delete where it is only read."""

    def __init__(self, there: Remote, settings: Settings) -> None:
        self._there = there
        self._readonly = settings.remote_readonly
        self._is_disk = settings.remote_type == "filesystem"
        self._key = transfer.UNITS + "probe-" + os.urandom(8).hex()
        self._listed: Optional[Listed] = None
        # what every other operation would meet as well
        self._hopeless = False

    def findings(self) -> Iterator[Finding]:
        """A finding for the place, and one for each operation until one fails as all others would."""
        yield self._tried("remote", self._credentials)
        if self._hopeless:
            return
        yield self._tried("remote list", self._list, "pulling and pushing need it: " + self._allow("s3:ListBucket"))
        if self._hopeless:
            return
        written = False
        if self._readonly:
            text = "not tried: cache.remote.readonly is set, so this machine pulls and does not push"
            yield Finding("remote put", WARNING, text)
        else:
            hint = "pulls work, pushes will not: %s, or set KACHE_REMOTE_READONLY=1 where one only reads"
            hint %= self._allow("s3:PutObject")
            found = self._tried("remote put", self._put, hint)
            yield found
            written = found.status == OK
            if self._hopeless:
                # perhaps it was written, and only the answer was lost
                self._forget()
                return
        work = self._get_back if written else self._get_any
        yield self._tried("remote get", work, "pulling needs it: " + self._allow("s3:GetObject"))
        if written:
            yield self._deleted()

    def _allow(self, right: str) -> str:
        return "change its owner or mode" if self._is_disk else "allow " + right

    def _tried(self, check: str, work: Callable[[], str], hint: str = "") -> Finding:
        try:
            return Finding(check, OK, in_time(work))
        except Forbidden as error:
            return Finding(check, PROBLEM, self._words(error), hint)
        except (KacheError, OSError, ImportError) as error:
            self._hopeless = True
            return Finding(check, PROBLEM, self._words(error))

    def _words(self, error: Exception) -> str:
        """What an error says, without the place, which stands in a line of its own."""
        text, place = str(error), self._there.describe() + ": "
        return text[len(place) :] if text.startswith(place) else text

    def _credentials(self) -> str:
        source = self._there.credentials()
        return self._there.describe() + (f"; credentials: {source}" if source else "")

    def _list(self) -> str:
        first = itertools.islice(self._there.list(""), MOST_LISTED)
        self._listed = next((each for each in first if _is_ours(each)), None)
        return "allowed" if self._listed else "allowed; nothing is there yet"

    def _put(self) -> str:
        # as a push does: on the condition that nothing is there
        self._there.put(self._key, io.BytesIO(CONTENT), len(CONTENT), ABSENT)
        return "allowed"

    def _get_back(self) -> str:
        with self._there.get(self._key) as body:
            data = body.read()
        if data != CONTENT:
            raise RemoteError("what came back is not what was put: something on the way changes it")
        return "allowed; what was put came back"

    def _get_any(self) -> str:
        """Read the first byte of an object; where there is none, the answer to a key that is none tells as much."""
        try:
            with self._there.get(self._listed.key if self._listed else self._key, 1) as body:
                body.read()
        except Missing:
            pass
        return "allowed"

    def _deleted(self) -> Finding:
        found = self._tried("remote delete", self._delete)
        if found.status == OK:
            return found
        text = f"{found.message}; {self._key} ({console.size(len(CONTENT))}) stays there"
        return Finding("remote delete", WARNING, text, "kache itself never deletes; a lifecycle rule removes it")

    def _delete(self) -> str:
        self._there.delete(self._key)
        return "allowed"

    def _forget(self) -> None:
        with contextlib.suppress(KacheError, OSError):
            in_time(self._delete)


def _is_ours(listed: Listed) -> bool:
    with contextlib.suppress(RemoteError):
        return bool(listed.size and listed.key.endswith(transfer.ENDING) and remote.check_key(listed.key))
    return False


def check_signatures(settings: Settings) -> Iterator[Finding]:
    """Whether the key to sign with and those that are trusted can be read, and what they mean together."""
    if not settings.remote_signing_key and not settings.remote_trusted_keys:
        return
    try:
        keyring = signing.Keyring(settings)
    except (KacheError, ImportError) as error:
        yield Finding("signatures", PROBLEM, str(error))
        return
    own, trusted = keyring.own(), keyring.trusted()
    names = ", ".join(sorted(_name(key) for key in trusted))
    if not own:
        pushes = "" if settings.remote_readonly else "; signs nothing, so others who do the same miss what it pushes"
        yield Finding("signatures", OK, f"believes {names}{pushes}")
    elif own in trusted:
        yield Finding("signatures", OK, f"signs as {_name(own)}; believes {names}")
    else:
        text = f"signs as {_name(own)}, and trusts another key of that name"
        yield Finding("signatures", WARNING, text, f"put {own} into cache.remote.trusted_keys in its place")


def _name(key: str) -> str:
    return key.partition(":")[0]


def in_time(work: Callable[[], T], seconds: float = STEP_SECONDS) -> T:
    """What ``work`` returns, or raises. Raises Unreachable where that takes longer; then it is left to itself."""
    answer: "queue.SimpleQueue[Tuple[Optional[BaseException], Optional[T]]]" = queue.SimpleQueue()

    def run() -> None:
        try:
            answer.put((None, work()))
        except BaseException as error:
            answer.put((error, None))

    # a daemon: the end of the command does not wait for it
    threading.Thread(target=run, name="reach", daemon=True).start()
    try:
        error, found = answer.get(timeout=seconds)
    except queue.Empty:
        raise Unreachable(f"no answer within {seconds:.0f} s") from None
    if error is not None:
        raise error
    return found  # type: ignore[return-value]
