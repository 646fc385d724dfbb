"""A remote that is watched: what comes and what fails is noticed.

Owns which failure means that the remote is of no use for now, separately for reading and writing: credentials may allow
one alone.
"""

import contextlib
import threading
import time
from typing import BinaryIO, Callable, ContextManager, Iterator, Tuple

from kachelib.circuit import Circuit
from kachelib.remote import Denied, Interrupted, Listed, Missing, Remote, Unreachable

NO_ANSWER = "it does not answer in time"


class Watched(Remote):
    """Another remote, with a circuit for each direction.

    told: is called with "reading from" or "writing to" and what is wrong, "" when it works again.
    """

    def __init__(self, inner: Remote, told: Callable[[str, str], None]) -> None:
        self._inner = inner
        self._told = told
        self._lock = threading.Lock()
        self.reading = Circuit()
        self.writing = Circuit()
        # requests under way that read, and since when nothing came
        self._asked = 0
        self._quiet_since = 0.0

    def describe(self) -> str:
        return self._inner.describe()

    def prepare(self) -> None:
        """Set up what takes its time by itself: only the remote is to blame for what takes long after that."""
        try:
            self._inner.prepare()
        finally:
            self._note_life()

    def silence(self) -> float:
        """For how many seconds it has been asked and not said a word."""
        with self._lock:
            return time.monotonic() - self._quiet_since if self._asked and self._quiet_since else 0.0

    def no_answer(self) -> None:
        """Somebody waited in vain."""
        if self.reading.failed(NO_ANSWER):
            self._told("reading from", NO_ANSWER)

    def _note_life(self) -> None:
        """Something came: an answer, or a piece of a body."""
        with self._lock:
            self._quiet_since = time.monotonic()

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        with self._lock:
            if not self._asked and self._quiet_since:
                self._quiet_since = time.monotonic()
            self._asked += 1
        try:
            yield
        finally:
            with self._lock:
                self._asked -= 1

    @contextlib.contextmanager
    def _watch(self, circuit: Circuit, what: str) -> Iterator[None]:
        try:
            yield
        except Missing:
            self._worked(circuit, what)
            raise
        except Interrupted:
            # it answers, and whoever wants the rest asks again
            raise
        except (Unreachable, Denied) as error:
            if circuit.failed(str(error)):
                self._told(what, str(error))
            if isinstance(error, Denied):
                # the next try looks for credentials anew
                self._inner.close()
            raise
        self._worked(circuit, what)

    def _worked(self, circuit: Circuit, what: str) -> None:
        self._note_life()
        if circuit.worked():
            self._told(what, "")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._asking(), self._watch(self.reading, "reading from"):
            yield

    def _writing(self) -> "ContextManager[None]":
        return self._watch(self.writing, "writing to")

    @contextlib.contextmanager
    def get(self, key: str, most: int = 0) -> Iterator[BinaryIO]:
        with self._reading(), self._inner.get(key, most) as body:
            yield _Body(body, self._note_life)  # type: ignore[misc]

    def get_tagged(self, key: str) -> Tuple[bytes, str]:
        with self._reading():
            return self._inner.get_tagged(key)

    def put(self, key: str, body: BinaryIO, size: int, condition: str = "") -> bool:
        with self._writing():
            return self._inner.put(key, body, size, condition)

    def list(self, prefix: str) -> Iterator[Listed]:
        with self._reading():
            for each in self._inner.list(prefix):
                self._note_life()
                yield each

    def names(self) -> Iterator[str]:
        with self._reading():
            for each in self._inner.names():
                self._note_life()
                yield each

    def delete(self, key: str) -> None:
        with self._writing():
            self._inner.delete(key)

    def close(self) -> None:
        self._inner.close()


class _Body:
    def __init__(self, source: BinaryIO, note_life: Callable[[], None]) -> None:
        self._source = source
        self._note_life = note_life

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._note_life()
        return data
