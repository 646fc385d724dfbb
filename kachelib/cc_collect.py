"""From a finished C compile to a candidate: what it read, what must not appear, what it wrote, where that may be used.

Owns every reason not to store. Cold: imported on a miss. Never changes what the compiler left.
"""

from __future__ import annotations

import os
import re
import struct

from blake3 import blake3

from kachelib import cc_compile, cc_replay, depfile, include_scan, include_search
from kachelib.cc_action import Action
from kachelib.cc_toolchain import CLANG, GCC
from kachelib.compile import Finished
from kachelib.entry import ALONE, FILE, INLINE_LIMIT, Candidate, Input, Output, Stream, empty
from kachelib.inputs import remember
from kachelib.roots import absolute
from kachelib.store import Store, digest_file, read_file

# Optimised code that writes a string to memory holds it in pieces of this many bytes.
PIECE = 8

# SHF_COMPRESSED of elf(5).
COMPRESSED = 0x800

# A definition that makes, or helps to make, an assembler read a file.
PSEUDO_OP = re.compile(r"=\s*\.?(?:inc(?:lude|bin)?|in?|c?lude|cbin)\s*$|=\s*\.(?:in?c?b?i?n?)?\s*$", re.IGNORECASE)
# Where GCC has headers of its own, as x86's intrinsics: what is between their pragmas asks for no macro of these.
OWN_HEADERS = re.compile(r"/lib(?:32|64|exec)?/gcc(?:-cross)?/")

# Traits of a text with which a compile cannot be judged by the files that its depfile names.
UNSTORABLE = (
    include_scan.UNCLEAR_TEST,
    include_scan.EMBED,
    include_scan.INCBIN,
    include_scan.TIMESTAMP,
    include_scan.PRAGMA,
    include_scan.TRIGRAPH,
    include_scan.PASTED,
)


class NotStored(Exception):
    """Why a compile that succeeded is not kept; the text is the event's reason."""


class Collected:
    """A candidate; object: the file behind its object; texts: what its other blobs hold; states: as ``read`` has
    them."""

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self.states: dict[str, os.stat_result] = {}
        self.object = ""
        self.texts: list[bytes] = []


def collect(action: Action, finished: Finished, deps: bytes | None, store: Store) -> Collected:
    """Describe the compile as a candidate. deps: the depfile with all headers. Raises NotStored, OSError."""
    if not finished.whole:
        raise NotStored("the compiler printed too much to keep")
    if not finished.steady:
        raise NotStored("the clock was set during the compile")
    candidate = Candidate()
    collected = Collected(candidate)
    candidate.crate_name = action.plan.crate_name
    candidate.crate_types = action.plan.language
    candidate.compile_ms = finished.ms
    candidate.created = finished.started_ns // 1_000_000_000
    names = names_of(action, deps)
    _check_depfile(action, names)
    warned = bool(finished.stderr)
    candidate.inputs, collected.states = read(action, names, finished.started_ns, store, warned=warned)
    _read_object(action, collected)
    if action.plan.depfile and action.plan.language in cc_compile.WITHOUT_HEADERS and finished.stderr:
        raise NotStored("a warning may name the option that asks for a depfile")
    _read_depfile(action, collected)
    keep_streams(action, finished, collected)
    candidate.cache_key = candidate.compute_cache_key(action.key)
    return collected


def names_of(action: Action, deps: bytes | None) -> list[str]:
    """The files that a compile read, as the compiler names them, the source first. Raises NotStored."""
    if action.plan.language in cc_compile.WITHOUT_HEADERS:
        return [action.plan.source]
    names = depfile.parse(deps) if deps is not None else []
    # A depfile that was cut would match any headers.
    if not names or absolute(names[0], action.cwd) != absolute(action.plan.source, action.cwd):
        raise NotStored("the compiler's depfile does not begin with the source")
    return list(dict.fromkeys(names))


def read(
    action: Action, names: list[str], started_ns: int, store: Store, *, warned: bool = False, by_text: bool = False
) -> tuple[list[Input], dict[str, os.stat_result]]:
    """(every file that was read, and what must not appear; {path: a file's metadata before it was read}). started_ns:
    when reading began; warned: something was said of them; by_text: nothing is known but what the preprocessor made of
    them. Raises NotStored, OSError."""
    found = []
    states = {}
    texts = {}
    gcc_text = by_text and action.compiler.family == GCC
    _check_directories(action, names, started_ns)
    for name in names:
        path = absolute(name, action.cwd)
        state = os.stat(path)
        if state.st_mode & 0o170000 != 0o100000:
            raise NotStored("%s is not a regular file" % name)
        if max(state.st_mtime_ns, state.st_ctime_ns) >= started_ns:
            raise NotStored("%s changed during the compile" % name)
        if action.roots.normalise(path) == path and action.roots.is_ambiguous(path):
            raise NotStored("%s begins like a directory that is mapped" % name)
        states[path] = state
        digest = digest_file(path)
        found.append(Input(FILE, action.roots.normalise(path), digest))
        texts[name] = include_scan.scan(path, digest, store)
        _check_text(action, name, texts[name])
        if gcc_text and include_scan.OPTIONS in texts[name].traits and not OWN_HEADERS.search(os.path.realpath(path)):
            raise NotStored("%s in %s, which the preprocessor alone does not obey" % (include_scan.OPTIONS, name))
        if warned and include_scan.LINE in texts[name].traits:
            raise NotStored("a warning may show a line of another file, by #line in %s" % name)
    _check_definitions(action)
    if action.plan.language in cc_compile.WITHOUT_HEADERS:
        named = any(text.headers or include_scan.COMPUTED in text.traits for text in texts.values())
        if named and action.plan.language != "assembler":
            # Clang follows them all the same.
            raise NotStored("#include in preprocessed text")
        return found, states
    try:
        found += include_search.missing(action, names, texts, started_ns, store)
    except include_search.Unclear as why:
        raise NotStored(str(why)) from None
    known: dict[tuple[str, str], Input] = {}
    for item in found:
        known.setdefault((item.kind, item.path), item)
    _keep_apart(action, list(known.values()), states)
    return list(known.values()), states


def _check_depfile(action: Action, names: list[str]) -> None:
    """Raise NotStored where a depfile without the system's headers names one that is not among ``names``: those come of
    another process then, which does not obey every pragma."""
    if action.plan.depfile and not action.plan.system_headers:
        own = depfile.parse(read_file(action.depfile()) or b"")
        if not set(own) <= set(names):
            raise NotStored("the compiler's depfile names more than its preprocessor alone")


def _keep_apart(action: Action, found: list[Input], states: dict[str, os.stat_result]) -> None:
    """Have files that are equal stay files of their own, as far as Clang knows them by inode."""
    if action.compiler.family != CLANG:
        return
    equal: dict[str, dict[tuple[int, int], Input]] = {}
    for item in found:
        state = states.get(action.roots.localise(item.path)) if item.kind == FILE else None
        if state is not None:
            equal.setdefault(item.digest, {}).setdefault((state.st_dev, state.st_ino), item)
    for files in equal.values():
        for item in files.values() if len(files) > 1 else ():
            item.kind = ALONE


def _check_directories(action: Action, names: list[str], started_ns: int) -> None:
    """Raise NotStored where a directory of a file that was read was renamed meanwhile: it may be another one."""
    ends = {value for _, value in action.roots.values}
    seen = set()
    for name in names:
        directory = os.path.dirname(absolute(name, action.cwd))
        while directory and directory not in seen and directory != "/":
            seen.add(directory)
            state = os.stat(directory)
            # What is written into a directory moves both of its times.
            if state.st_ctime_ns >= started_ns > state.st_mtime_ns:
                raise NotStored("a directory above %s changed during the compile" % name)
            directory = "" if directory in ends else os.path.dirname(directory)


def _check_text(action: Action, name: str, text: include_scan.Text) -> None:
    """Raise NotStored where a file makes the object hang on more than is recorded."""
    for trait in UNSTORABLE:
        if trait in text.traits:
            raise NotStored("%s in %s" % (trait, name))
    # Clang 14 does not heed the variable (tried); whether a newer one does is not asked.
    fixed = "SOURCE_DATE_EPOCH" in action.environ and action.compiler.family != CLANG
    if include_scan.TIME in text.traits and not fixed:
        raise NotStored("%s in %s" % (include_scan.TIME, name))
    if include_scan.ASM_INCLUDE in text.traits:
        raise NotStored("%s in %s" % (include_scan.ASM_INCLUDE, name))


def _check_definitions(action: Action) -> None:
    """Raise NotStored where a macro that the command line defines makes the object hang on more than is recorded."""
    for _, word in action.plan.words:
        if word.startswith(("-D", "-Wp,-D", "/D", "/clang:-D")):
            text = include_scan.read(os.fsencode(word))
            _check_text(action, word.partition("=")[0], text)
            if PSEUDO_OP.search(word):
                raise NotStored("%s in %s" % (include_scan.ASM_INCLUDE, word.partition("=")[0]))
            if b"__has_" in os.fsencode(word):
                raise NotStored("%s in %s" % (include_scan.UNCLEAR_TEST, word.partition("=")[0]))


def _read_object(action: Action, collected: Collected) -> None:
    """Digest the object, and bind the candidate to every root whose value occurs in it."""
    path = action.output()
    state = os.lstat(path)
    if state.st_mode & 0o170000 != 0o100000:
        raise NotStored("the object is not a regular file")
    data = read_file(path)
    if data is None or len(data) != state.st_size:
        raise NotStored("the object changed while it was read")
    digest = blake3(data).hexdigest()
    collected.object = path
    candidate = collected.candidate
    candidate.outputs.append(Output(cc_replay.OBJECT, cc_replay.OBJECT, digest, len(data), False))
    unclear = action.bound or action.plan.opaque or is_packed(data)
    found = [
        (name, value) for name, value in action.roots.values if unclear or os.fsencode(value)[:PIECE] in data
    ]
    candidate.bindings = sorted(found)


def is_packed(data: bytes) -> bool:
    """Whether an object has compressed sections, by elf(5): some assemblers compress debug information unasked."""
    if data[:4] != b"\x7fELF" or data[5:6] != b"\1":
        return b".zdebug" in data
    wide = data[4:5] == b"\2"
    (start,) = struct.unpack_from("<Q" if wide else "<I", data, 0x28 if wide else 0x20)
    size, count = struct.unpack_from("<HH", data, 0x3A if wide else 0x2E)
    flags = ("<Q", 8) if wide else ("<I", 8)
    if start + size * count > len(data) or (count == 0 and start):
        # More sections than the header can count.
        return True
    return b".zdebug" in data or any(
        struct.unpack_from(flags[0], data, start + size * index + flags[1])[0] & COMPRESSED for index in range(count)
    )


def _read_depfile(action: Action, collected: Collected) -> None:
    if not action.plan.depfile:
        return
    data = read_file(action.depfile())
    if data is None and action.plan.language in cc_compile.WITHOUT_HEADERS:
        # None is written of what is not preprocessed.
        return
    stored = depfile.template(data, action) if data is not None else None
    if stored is None:
        raise NotStored("the depfile is of a form that is not known")
    digest = blake3(stored).hexdigest()
    collected.texts.append(stored)
    collected.candidate.outputs.append(Output(cc_replay.DEPFILE, cc_replay.DEPFILE, digest, len(stored), False))


def keep_streams(action: Action, finished: Finished, collected: Collected) -> None:
    """Turn what was printed into the candidate's streams; large ones become blobs. Raises NotStored."""
    streams = []
    said = (finished.stdout, template(finished.stderr, action))
    for data in said:
        if len(data) > INLINE_LIMIT or b"\0" in data:
            collected.texts.append(data)
            streams.append(Stream(digest=blake3(data).hexdigest()))
        else:
            streams.append(Stream(data=data))
    candidate = collected.candidate
    candidate.stdout, candidate.stderr = streams
    # Fix-its, patches and JSON name files anywhere in a line.
    named = [root for root in action.roots.values if any(os.fsencode(root[1]) in data for data in said)]
    candidate.bindings = sorted({*candidate.bindings, *named})
    candidate.layout = action.layout() if finished.stderr else ""


def template(said: bytes, action: Action) -> bytes:
    """Diagnostics with placeholders where the compiler names a file below a local root. Raises NotStored."""
    if cc_replay.MARK in said:
        raise NotStored("the compiler printed a control character")
    for name, value in action.roots.values:
        # At a line's beginning, behind "from ", or behind a colour: what sources spell out stays as it is.
        before = rb"(^|from |\x1b\[[0-9;]*m|\x1b\[K)"
        place = re.compile(before + re.escape(os.fsencode(value)) + rb"(?=/)", re.MULTILINE)
        said = place.sub(lambda match, name=name: match[1] + cc_replay.placeholder(name), said)  # type: ignore[misc]
    return said


def publish(collected: Collected, action: Action, key: str, store: Store) -> bool:
    """Put blobs, then the entry of ``key``; returns whether the object was new. Raises OSError."""
    candidate = collected.candidate
    for data in collected.texts:
        store.put_bytes(data)
    found = candidate.outputs[0]
    fresh = store.put_file(collected.object, found.digest, found.size, False, False)
    entry = store.read_entry(key) or empty()
    store.write_entry(key, entry.with_candidate(candidate, action.transcript.fields))
    remember(candidate, action, store, collected.states)
    return fresh
