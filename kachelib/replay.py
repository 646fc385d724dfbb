"""A hit: the outputs of a candidate put in place, what the compiler said said again.

Owns the order of restoring and the text of diagnostics at this place. Knows
candidates and the store; nothing of how the candidate was found.
"""


from kachelib import depinfo, log
from kachelib.roots import REMAP_TARGETS
from kachelib.store import CLONED, COPIED, LINKED, make_directories, replace_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from kachelib.action import Action
    from kachelib.entry import Candidate, Stream
    from kachelib.events import Event
    from kachelib.roots import Roots
    from kachelib.rustc import Plan
    from kachelib.store import Store

# rustc's own default, and more than what it keeps free beside a source line.
DEFAULT_WIDTH = 140
MARGIN = 20

# In stored diagnostics, the directory that artifact notifications name.
ARTIFACT = b'"artifact":"'
# What stands before the name of a source, as data and as text for people.
SOURCE_FOLLOWS = (b'"file_name":"', b"--> ", b"::: ")
ESCAPES = (b"\x1b", b"\\u001b")

OUT_DIR = b"<out-dir>"


def restore(candidate: "Candidate", action: "Action", store: "Store", event: "Event") -> bool:
    """Put every output in its place; False when a blob is missing, which is a miss. Raises OSError."""
    out_dir = action.out_dir()
    for output in candidate.outputs:
        if output.emit != "dep-info" and not store.has_blob(output.digest, output.size):
            return False
    make_directories(out_dir)
    # Cargo goes by the newest output of a unit: an .rlib may keep a blob's time
    # where another output is new.
    private = any(output.emit == "metadata" for output in candidate.outputs)
    for output in candidate.outputs:
        path = out_dir + "/" + output.name
        if output.emit == "dep-info":
            text = store.read_blob(output.digest)
            if text is None or len(text) != output.size:
                return False
            replace_file(path, local_depinfo(text, candidate, action))
            continue
        share = private and output.name.endswith(".rlib")
        how = store.restore(output.digest, output.size, path, share, output.executable)
        if not how:
            return False
        _count(event, how, output.size)
    return True


def local_depinfo(text: bytes, candidate: "Candidate", action: "Action") -> bytes:
    """A stored dep-info template as the file for this place, with the declared extra inputs."""
    data = depinfo.expand(text, action.roots, action.plan.out_dir, candidate.env_deps, action.environ)
    return with_extra_inputs(data, action)


def with_extra_inputs(data: bytes, action: "Action") -> bytes:
    """Dep-info that also names the declared extra inputs, so that Cargo notices a changed and a new one."""
    if action.extra is None:
        return data
    extra = action.extra
    return depinfo.with_files(data, [extra.file, *[path for _, path in extra.files], *extra.directories])


def say(candidate: "Candidate", action: "Action", store: "Store") -> bool:
    """Print what the compiler printed, for this place; False when a stream's blob is missing."""
    out, err = _content(candidate.stdout, store), _content(candidate.stderr, store)
    if out is None or err is None:
        return False
    for fd, data in ((1, out), (2, err)):
        if data:
            data = data.replace(ARTIFACT + OUT_DIR, ARTIFACT + _json_bytes(action.plan.out_dir))
            log.write_all(fd, localise(data, action.roots))
    return True


def suits(layout: str, plan: "Plan") -> bool:
    """Whether diagnostics of that layout are what the compiler would print for this --diagnostic-width.

    layout: "" there are none; "=N" they were cut to N columns; "+N" they are
    whole, and stay so where N columns and rustc's margins have room.
    """
    if not layout:
        return True
    width = diagnostic_width(plan)
    needed = int(layout[1:])
    return width == needed if layout[0] == "=" else width >= needed + MARGIN


def diagnostic_width(plan: "Plan") -> int:
    """The columns that diagnostics are laid out for."""
    for name, value in reversed(plan.options):
        if name == "--diagnostic-width" and value.isdigit():
            return int(value)
    return DEFAULT_WIDTH


def template(data: bytes, out_dir: str) -> bytes:
    """What the compiler printed, without the directory it wrote to. out_dir: as it was given to the compiler."""
    return data.replace(ARTIFACT + _json_bytes(out_dir) + b"/", ARTIFACT + OUT_DIR + b"/")


def localise(data: bytes, roots: "Roots") -> bytes:
    """Diagnostics with the remapped names of sources turned back into paths that exist here."""
    for name, value in roots.values:
        target = REMAP_TARGETS.get(name, "").encode() + b"/"
        if len(target) > 1 and target in data:
            data = _replace_paths(data, target, _json_bytes(value) + b"/")
    return data


def _replace_paths(data: bytes, old: bytes, new: bytes) -> bytes:
    """Replace ``old`` where the compiler names a source; what sources themselves spell out stays as it is."""
    parts = data.split(old)
    out = [parts[0]]
    for before, after in zip(parts, parts[1:]):
        out += (new if _without_colours(before[-80:]).endswith(SOURCE_FOLLOWS) else old, after)
    return b"".join(out)


def _without_colours(text: bytes) -> bytes:
    """``text`` without the colours at its end, as they stand in JSON and on a terminal."""
    while text.endswith(b"m"):
        head, bracket, numbers = text[:-1].rpartition(b"[")
        if not bracket or not numbers.replace(b";", b"").isdigit() or not head.endswith(ESCAPES):
            return text
        text = head[:-1] if head.endswith(b"\x1b") else head[:-6]
    return text


def _content(stream: "Stream", store: "Store") -> "Optional[bytes]":
    return store.read_blob(stream.digest) if stream.digest else stream.data


def _json_bytes(path: str) -> bytes:
    """``path`` as it stands inside a JSON string."""
    return path.replace("\\", "\\\\").replace('"', '\\"').encode("utf-8", "surrogateescape")


def _count(event: "Event", how: str, size: int) -> None:
    if how == LINKED:
        event.hardlinked_bytes += size
    elif how == CLONED:
        event.reflinked_bytes += size
    elif how == COPIED:
        event.copied_bytes += size
