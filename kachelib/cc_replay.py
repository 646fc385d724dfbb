"""A hit of a C compile: the object and its depfile put in place, what the compiler said said again.

Owns the order of restoring, and colours. Knows candidates and the store; nothing of how the candidate was found.
"""

import posix

from kachelib import depfile, log
from kachelib.cc_action import COLOURS
from kachelib.store import CLONED, COPIED, LINKED, replace_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from kachelib.cc_action import Action
    from kachelib.entry import Candidate, Output, Stream
    from kachelib.events import Event
    from kachelib.roots import Roots
    from kachelib.store import Store

OBJECT = "object"
DEPFILE = "depfile"

# Around a root's name in stored diagnostics: no compiler prints this.
MARK = b"\x1a"


def is_plain(path: str) -> bool:
    """Whether an output may be put at ``path``: nothing is there, or a writable file of one name. What else stands
    there the compiler may write through, or refuse."""
    try:
        state = posix.lstat(path)
    except OSError:
        return True
    return state.st_mode & 0o170000 == 0o100000 and state.st_nlink == 1 and posix.access(path, posix.W_OK)


def restore(candidate: "Candidate", action: "Action", store: "Store", event: "Event") -> bool:
    """Put object and depfile in their places; False where a blob is missing, which is a miss. Raises OSError."""
    wanted = {output.emit: output for output in candidate.outputs}
    found = wanted[OBJECT]
    rule = _depfile(wanted.get(DEPFILE), action, store)
    if rule is None or not store.has_blob(found.digest, found.size):
        return False
    how = store.restore(found.digest, found.size, action.output(), False, False)
    if not how:
        return False
    if rule:
        replace_file(action.depfile(), rule)
    if how == LINKED:
        event.hardlinked_bytes += found.size
    elif how == CLONED:
        event.reflinked_bytes += found.size
    elif how == COPIED:
        event.copied_bytes += found.size
    return True


def _depfile(output: "Optional[Output]", action: "Action", store: "Store") -> "Optional[bytes]":
    """The depfile for this place; b"" where none was written, None where its blob is missing."""
    if not action.plan.depfile or output is None:
        return b""
    stored = store.read_blob(output.digest)
    return None if stored is None else depfile.expand(stored, action)


def say(candidate: "Candidate", action: "Action", store: "Store") -> bool:
    """Print what the compiler printed; False where a stream's blob is missing."""
    out, err = _content(candidate.stdout, store), _content(candidate.stderr, store)
    if out is None or err is None:
        return False
    if candidate.layout[:1] == COLOURS and not action.coloured:
        err = without_colours(err)
    log.write_all(1, out)
    log.write_all(2, localise(err, action.roots))
    return True


def _content(stream: "Stream", store: "Store") -> "Optional[bytes]":
    return store.read_blob(stream.digest) if stream.digest else stream.data


def localise(data: bytes, roots: "Roots") -> bytes:
    """Stored diagnostics with the paths of this place."""
    for name, value in roots.values:
        mark = placeholder(name)
        if mark in data:
            data = data.replace(mark, value.encode("utf-8", "surrogateescape"))
    return data


def placeholder(name: str) -> bytes:
    """What stands for a root in stored diagnostics."""
    return MARK + name.encode() + MARK


def without_colours(data: bytes) -> bytes:
    """Diagnostics without the sequences that colour them and erase the rest of a line (SGR, EL), and without links."""
    out = []
    for index, part in enumerate(data.split(b"\x1b")):
        if index == 0:
            out.append(part)
        elif part[:1] == b"[":
            end = 1
            while end < len(part) and (part[end] in b"0123456789;"):
                end += 1
            out.append(part[end + 1 :])
        elif part[:1] == b"]":
            # OSC 8: a link, ended by BEL or by ESC and a backslash, which begins the next part
            _, bell, rest = part.partition(b"\a")
            out.append(rest if bell else b"")
        elif part[:1] == b"\\":
            out.append(part[1:])
        else:
            out.append(b"\x1b" + part)
    return b"".join(out)
