"""From a finished compile to a candidate: what it read, what it wrote, where that may be used.

Owns every reason not to store. Cold: imported on a miss. Knows actions,
dep-info and the store; never changes what the compiler left in the target but
the .rlib that becomes a blob.
"""

import posix

from blake3 import blake3

from kachelib import depinfo, replay
from kachelib.action import CARGO_LINTS
from kachelib.entry import FILE, INLINE_LIMIT, SOURCE, Candidate, EnvDep, Input, Output, Stream
from kachelib.roots import TARGET, absolute
from kachelib.rustc import OFF
from kachelib.store import digest_file, read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterable, List, Set, Tuple

    from kachelib.action import Action
    from kachelib.compile import Finished
    from kachelib.store import Store

# Crates that the toolchain brings, and the crate itself.
OWN_CRATES = frozenset(("alloc", "core", "proc_macro", "self", "std", "test"))

# as much as stays in the processor's cache while it is hashed and searched
PIECE = 256 * 1024

# Before the name of a root, for where it really lies.
LINKED = "link to "

# As many bytes have to be the same for one search to stand for several: /home, /root, /tmp/.
ALIKE = 5


class NotStored(Exception):
    """Why a compile that succeeded is not kept; the text is the event's reason."""


class Collected:
    """A candidate and the files behind its blobs: (path, output) in the order of the outputs."""

    __slots__ = ("candidate", "files", "texts")

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self.files: "List[Tuple[str, Output]]" = []
        self.texts: "List[bytes]" = []


def collect(action: "Action", finished: "Finished", fingerprint: str, store: "Store") -> Collected:
    """Describe the compile as a candidate. Raises NotStored, OSError."""
    if not finished.whole:
        raise NotStored("the compiler printed too much to keep")
    if not finished.steady:
        raise NotStored("the clock was set during the compile")
    candidate = Candidate()
    collected = Collected(candidate)
    candidate.crate_name = action.plan.crate_name
    candidate.crate_types = ",".join(["test"] if action.plan.test else action.plan.crate_types)
    candidate.compile_ms = finished.ms
    candidate.created = finished.started_ns // 1_000_000_000
    candidate.fingerprint = fingerprint
    info = _read_depinfo(action, collected)
    _read_inputs(action, info, finished, candidate)
    _check_assembly(action, candidate)
    _check_reach(action, candidate)
    if action.plan.linked:
        from kachelib import link

        link.add_inputs(action, finished, candidate, store)
    found = _read_outputs(action, finished, collected)
    candidate.bindings = sorted((name, value) for name, value in action.roots.values if name in found)
    _read_variables(action, info, candidate)
    if action.plan.linked:
        candidate.needs = link.needs([path for path, output in collected.files if output.executable])
    if "staticlib" in action.plan.crate_types or any(output.name.endswith(".rlib") for _, output in collected.files):
        from kachelib import archive

        archive.check(action, collected, candidate, store)
    _keep_streams(action, finished, collected)
    candidate.cache_key = candidate.compute_cache_key(action.key)
    return collected


def _read_depinfo(action: "Action", collected: Collected) -> depinfo.DepInfo:
    """The compile's dep-info, and its template as an output."""
    name = action.plan.depinfo_name()
    path = action.out_dir() + "/" + name
    data = read_file(path)
    if data is None or posix.lstat(path).st_mode & 0o170000 != 0o100000:
        raise NotStored("no dep-info was written")
    text = depinfo.template(data, action.roots, action.plan.out_dir)
    if text is None:
        raise NotStored("a source's path looks like a placeholder")
    collected.texts.append(text)
    collected.candidate.outputs.append(Output(name, "dep-info", "", len(text), False))
    return depinfo.parse(data)


def _read_inputs(action: "Action", info: depinfo.DepInfo, finished: "Finished", candidate: Candidate) -> None:
    """Digest every file of the dep-info. Raises NotStored where one changed since the compile began."""
    paths = [absolute(name, action.cwd) for name in info.files]
    # A dep-info that was cut would match any sources.
    if absolute(action.plan.source, action.cwd) not in paths:
        raise NotStored("the dep-info does not name the crate's source")
    for name, path in zip(info.files, paths):
        state = posix.stat(path)
        if state.st_mode & 0o170000 != 0o100000:
            raise NotStored("%s is not a regular file" % name)
        if max(state.st_mtime_ns, state.st_ctime_ns) >= finished.started_ns:
            raise NotStored("%s changed during the compile" % name)
        if not action.roots.immutable and _place_changed(path, action, finished):
            raise NotStored("a directory above %s changed during the compile" % name)
        kind = SOURCE if name.endswith(".rs") else FILE
        candidate.inputs.append(Input(kind, action.roots.normalise(path), digest_file(path)))


def _place_changed(path: str, action: "Action", finished: "Finished") -> bool:
    """Whether a directory between ``path`` and its root changed since the compile began: it may be another one."""
    target = action.roots.by_name.get(TARGET)
    if target and path.startswith(target + "/"):
        # Cargo works there all the time, and alone.
        return False
    directory = path.rpartition("/")[0]
    ends = {value for _, value in action.roots.values}
    while directory and directory not in ends:
        state = posix.stat(directory)
        # A directory that is renamed keeps its mtime.
        if max(state.st_mtime_ns, state.st_ctime_ns) >= finished.started_ns:
            return True
        directory = directory.rpartition("/")[0]
    return False


def _check_assembly(action: "Action", candidate: "Candidate") -> None:
    """Raise NotStored where assembly in a file that was read may read another one: LLVM's assembler tells nobody.

    An include is told from a method of that name by what follows.
    """
    for item in candidate.inputs:
        text = (read_file(action.roots.localise(item.path)) or b"").lower()
        if b".incbin" in text:
            raise NotStored(".incbin reads a file that no dep-info names")
        at = text.find(b".include")
        while at >= 0:
            following = text[at + 8 : at + 40].lstrip()
            if following[:1] in (b'"', b"\\", b"{") or following[:2] == b"/*":
                raise NotStored(".include reads a file that no dep-info names")
            at = text.find(b".include", at + 8)


def _check_reach(action: "Action", candidate: Candidate) -> None:
    """Raise NotStored where the sources reach for more than arguments name: a crate that only a general library path
    leads to, lints that look at every package."""
    if action.toolchain.driver:
        for item in candidate.inputs:
            text = read_file(action.roots.localise(item.path)) or b""
            if any(lint.encode() in text for lint in CARGO_LINTS):
                raise NotStored("clippy::cargo looks at every package")
    if not any(kind in ("all", "crate") for kind, _ in action.plan.library_paths):
        return
    import re

    declared = re.compile(rb"\bextern\s+crate\s+(?:r#)?(\w+)")
    known = {extern.name for extern in action.plan.externs} | OWN_CRATES
    for item in candidate.inputs:
        if item.kind == SOURCE:
            for name in declared.findall(read_file(action.roots.localise(item.path)) or b""):
                if name.decode() not in known:
                    raise NotStored("crate %s comes from a library path" % name.decode())


def _read_variables(action: "Action", info: depinfo.DepInfo, candidate: Candidate) -> None:
    """Record the variables that were read, portable where they only led to an included file."""
    sources = [absolute(name, action.cwd) for name in info.files]
    bound = {name for name, _ in candidate.bindings}
    for name, value in info.variables:
        if value is None:
            candidate.env_deps.append(EnvDep(name, "-", ""))
            continue
        normal = action.roots.normalise(value)
        state = "="
        if normal != value and not action.bound:
            root = normal[1:].partition(">")[0]
            if root not in bound and _only_includes(name, sources):
                state = "~"
        candidate.env_deps.append(EnvDep(name, state, normal if state == "~" else value))


def _only_includes(variable: str, sources: "List[str]") -> bool:
    """Whether the sources use a variable, and only to name an included file.

    Anything else might make its value part of the output in a form that no
    search for bytes finds. A variable that no source spells out (a macro of
    another crate read it) counts as used otherwise; beside an include, such a
    use is left to the search for bytes.
    """
    import re

    name = re.escape(variable.encode())
    use = re.compile(rb"\b(?:option_)?env\s*!\s*[(\[{]\s*\"" + name + rb"\"")
    include = re.compile(
        rb"\binclude(?:_str|_bytes)?\s*!\s*[(\[{]\s*(?:concat\s*!\s*[(\[{]\s*)?"
        rb"env\s*!\s*[(\[{]\s*\"" + name + rb"\"\s*[)\]}]"
    )
    # A macro of somebody else's by that name does what it likes.
    shadow = re.compile(
        rb"macro_rules\s*!\s*include|\bas\s+include(?:_str|_bytes)?\b|\buse\b[^;]*\binclude(?:_str|_bytes)?\b"
        rb"|(?<!\bcore)(?<!\bstd)\s*::\s*include(?:_str|_bytes)?\s*!"
    )
    mention = re.compile(rb"\"" + name + rb"\"")
    comment = re.compile(rb"^\s*//.*$", re.MULTILINE)
    uses = 0
    for path in sources:
        data = read_file(path)
        if data is None:
            return False
        if shadow.search(data):
            return False
        if variable.encode() not in data:
            continue
        code = comment.sub(b"", data)
        uses += len(include.findall(code))
        if len(include.findall(code)) != max(len(use.findall(code)), len(mention.findall(code))):
            return False
    return uses > 0


def _read_outputs(action: "Action", finished: "Finished", collected: Collected) -> "Set[str]":
    """Digest every output; returns the names of the local roots whose values occur in any.

    Raises NotStored unless each requested kind is there, in the output directory.
    """
    out_dir = action.out_dir()
    artifacts = _announced(finished.stderr) or _expected(action)
    patterns = {name: _patterns(value, action) for name, value in action.roots.values}
    by_link = {LINKED + name: _patterns(real, action) for name, real in _real_places(action)}
    patterns.update(by_link)
    found: "Set[str]" = set()
    seen = {"dep-info"}
    for path, emit in artifacts.items():
        path = absolute(path, action.cwd)
        directory, _, name = path.rpartition("/")
        if emit == "dep-info" or (emit == "link" and "link" not in action.plan.emit):
            continue
        if directory != out_dir:
            raise NotStored("%s lies outside the output directory" % name)
        state = posix.lstat(path)
        if state.st_mode & 0o170000 != 0o100000:
            raise NotStored("%s is not a regular file" % name)
        digest = _digest_and_search(path, patterns, found)
        executable = bool(state.st_mode & 0o100)
        output = Output(name, emit, digest, state.st_size, executable)
        collected.candidate.outputs.append(output)
        collected.files.append((path, output))
        seen.add(emit)
    missing = [kind for kind in action.plan.emit if kind not in seen]
    if missing:
        raise NotStored("no %s was written" % ", ".join(missing))
    if found & by_link.keys():
        raise NotStored("the outputs name a directory that is known by a link")
    return set(patterns) if action.bound else found


def _real_places(action: "Action") -> "List[Tuple[str, str]]":
    """(name, path) of the roots that are reached by a link: a macro may have followed it."""
    from posixpath import realpath

    places = [(name, value, realpath(value)) for name, value in action.roots.values]
    return [(name, real) for name, value, real in places if real != value and len(real) > 1]


def _patterns(root: str, action: "Action") -> "List[bytes]":
    """What to look for to find a root's path in an output.

    A proc macro may have baked it in without a trace. Optimised code then
    holds a string that is only compared in pieces of 8 bytes; and in LLVM
    bitcode (``-C linker-plugin-lto``) characters have 7 or 8 bits and begin at
    any bit.
    """
    value = root.encode("utf-8", "surrogateescape")
    if any(extern.path for extern in action.plan.externs):
        value = value[:8]
    if action.plan.last_codegen("linker-plugin-lto") in (None, *OFF):
        return [value]
    packed = []
    for width in (7, 8):
        bits = sum((byte & (1 << width) - 1) << width * index for index, byte in enumerate(value))
        length = width * len(value)
        for shift in range(8):
            # Only bytes that the pattern fills whole.
            data = (bits << shift).to_bytes((length + shift + 7) // 8, "little")
            packed.append(data[1 if shift else 0 : (length + shift) // 8])
    return packed


def _announced(stderr: bytes) -> "Dict[str, str]":
    """path -> emit kind of rustc's artifact notifications; empty where --json=artifacts was not asked for."""
    artifacts: "Dict[str, str]" = {}
    for line in stderr.split(b"\n"):
        if _is_notification(line):
            path = line.partition(b'"artifact":"')[2].partition(b'","emit":"')
            name = path[0].decode("utf-8", "surrogateescape")
            if "\\" in name:
                import json

                name = json.loads('"' + name + '"')
            artifacts[name] = path[2].partition(b'"')[0].decode()
    return artifacts


def _is_notification(line: bytes) -> bool:
    return line.startswith(b"{") and b'"artifact":"' in line and b'"emit":"' in line


def _expected(action: "Action") -> "Dict[str, str]":
    """The same by rustc's naming rules, for callers that did not ask for notifications."""
    plan = action.plan
    stem = action.out_dir() + "/lib" + plan.output_stem()
    artifacts = {}
    if "metadata" in plan.emit:
        artifacts[stem + ".rmeta"] = "metadata"
    if "link" in plan.emit:
        if plan.linked or "staticlib" in plan.crate_types:
            raise NotStored("the names of linked outputs are not known without --json=artifacts")
        artifacts[stem + ".rlib"] = "link"
    return artifacts


def _digest_and_search(path: str, patterns: "Dict[str, List[bytes]]", found: "Set[str]") -> str:
    """The digest of a file; adds the names of roots of which a pattern occurs in it to ``found``."""
    names: "Dict[bytes, Set[str]]" = {}
    for name, each in patterns.items():
        for pattern in each:
            names.setdefault(pattern, set()).add(name)
    overlap = max([len(pattern) for pattern in names] or [1]) - 1
    alike = _grouped(names)
    hasher = blake3()
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        tail = b""
        data = posix.read(fd, PIECE)
        while data:
            hasher.update(data)
            window = tail + data
            for group in alike:
                left = [pattern for pattern in group if not names[pattern] <= found]
                # A pass over the window costs more than hashing it: one for all that begin alike is mostly enough.
                if len(left) > 1 and _common_prefix(left) not in window:
                    continue
                for pattern in left:
                    if pattern in window:
                        found |= names[pattern]
            tail = window[-overlap:] if overlap else b""
            data = posix.read(fd, PIECE)
    finally:
        posix.close(fd)
    return hasher.hexdigest()  # type: ignore[no-any-return,unused-ignore]


def _grouped(patterns: "Iterable[bytes]") -> "List[List[bytes]]":
    """The patterns, those together that begin with the same bytes."""
    groups: "Dict[bytes, List[bytes]]" = {}
    for pattern in patterns:
        groups.setdefault(pattern[:ALIKE], []).append(pattern)
    return list(groups.values())


def _common_prefix(patterns: "List[bytes]") -> bytes:
    first, last = min(patterns), max(patterns)
    length = 0
    while length < len(first) and first[length] == last[length]:
        length += 1
    return first[:length]


def _keep_streams(action: "Action", finished: "Finished", collected: Collected) -> None:
    """Turn what was printed into the candidate's streams; large ones become blobs."""
    candidate = collected.candidate
    streams = []
    for data in (finished.stdout, finished.stderr):
        data = replay.template(data, action.plan.out_dir)
        if len(data) > INLINE_LIMIT or b"\0" in data:
            collected.texts.append(data)
            streams.append(Stream(digest=blake3(data).hexdigest()))
        else:
            streams.append(Stream(data=data))
    candidate.stdout, candidate.stderr = streams
    candidate.layout = _layout(finished.stderr, action)


def _layout(stderr: bytes, action: "Action") -> str:
    """For which widths these diagnostics are what rustc prints, as replay.suits reads it."""
    lines = [line for line in stderr.split(b"\n") if line and not _is_notification(line)]
    if not lines:
        return ""
    import re

    colour = re.compile(rb"\\u001b\[[0-9;]*m|\x1b\[[0-9;]*m")
    shown: "List[bytes]" = []
    for line in lines:
        # In JSON the text for people is one string, its line breaks escaped.
        shown += line.partition(b'"rendered":"')[2].split(b"\\n") if line.startswith(b"{") else [line]
    # Counted in bytes, so rather too much than too little.
    longest = max((len(colour.sub(b"", line)) for line in shown), default=0)
    width = replay.diagnostic_width(action.plan)
    if any(b"..." in line for line in shown) or longest + replay.MARGIN > width:
        return "=%d" % width
    return "+%d" % longest


def publish(collected: Collected, action: "Action", store: "Store") -> bool:
    """Put blobs, then the entry; returns whether any blob was new. Raises OSError.

    The caller holds the action's claim, or else accepts that of two entries
    written at once one stays.
    """
    from kachelib.entry import empty

    candidate = collected.candidate
    fresh = False
    share = any(output.emit == "metadata" for output in candidate.outputs)
    candidate.outputs[0].digest = store.put_bytes(collected.texts[0])
    for data in collected.texts[1:]:
        store.put_bytes(data)
    for path, output in collected.files:
        shared = share and output.name.endswith(".rlib")
        fresh = store.put_file(path, output.digest, output.size, shared, output.executable) or fresh
    entry = store.read_entry(action.key) or empty()
    store.write_entry(action.key, entry.with_candidate(candidate, action.transcript.fields))
    return fresh
