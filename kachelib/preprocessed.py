"""The second way to a hit: the preprocessed text is one that was compiled before. Cold.

Owns which compiles may go by their text, how a text becomes a key, and what a hit by it leaves for the next one: a
candidate with this place's headers, so that the preprocessor is asked once.

It cannot be wrong, because what the text does not tell is in the key (every option but the preprocessor's, compiler,
source's name) or keeps a compile from going by its text: an object that holds places in the sources (debug
information, sanitizers) holds columns, which the text has lost; so do __builtin_LINE and its like, which the compiler
and not the preprocessor expands. Line numbers may be left out, because nothing reads them but diagnostics, and only a
compile that said nothing is kept. Where comments decide about warnings, no compile goes by its text: with -C, which
keeps them, a directive or a macro's parenthesis behind a comment is none (GCC manual, "Preprocessor Options"). A few
warnings are not given where a macro says the same as the text: a hit may lack such a one, but where a warning ends the
compile (-Werror), or the source itself asks for warnings, none goes by its text.
"""

from __future__ import annotations

import os
import re

from blake3 import blake3

from kachelib import cc_collect, cc_compile, cc_replay, clang_files, depfile
from kachelib.cc import DIALECT, PREPROCESSOR, STRICT
from kachelib.cc_action import PATH_VARIABLES, Action
from kachelib.cc_toolchain import CLANG
from kachelib.compile import Finished
from kachelib.entry import Candidate, Output, Stream, empty
from kachelib.events import Event
from kachelib.key import Transcript
from kachelib.roots import absolute
from kachelib.store import Store, read_file, remove, replace_file

SCHEMA = "kache-cc-text-2"

LANGUAGES = ("c", "c++")

# Expanded by the compiler: the place where they stand. Raw strings, whose lines are text however they look. And what
# asks for warnings, as options do.
UNFIT = re.compile(
    rb"__builtin_(?:LINE|COLUMN|FILE|source_location|dump_struct)\b|__(?:PRETTY_FUNCTION|FUNCSIG)__"
    rb'|R"|pragma\s+(?:GCC|clang)\s+diagnostic\s+(?:warning|error|fatal)'
)
PRAGMA = re.compile(rb"[^\n]*\bpragma\b[^\n]*")
# Clang prints pragmas as they stand, and expands macros in them when it compiles: these have none.
LITERAL = re.compile(
    rb"#pragma (?:once|(?:GCC|clang) system_header|(?:GCC|clang) diagnostic (?:push|pop|ignored \"[-\w=+]+\")"
    rb"|GCC visibility (?:push\(default\)|pop)|pack\((?:push|pop)?(?:, )?\d*\)|STDC [A-Z_]+ [A-Z]+)\s*"
)

_MARKER = re.compile(rb'^# \d+ "((?:[^"\\]|\\.)*)"([ \d]*)$')


class Text:
    """A preprocessed compile. transcript: of its text's key; names: the files that were read, the source first;
    rule: its depfile as asked for, b"" for none; started_ns: the file system's clock before."""

    def __init__(self, transcript: Transcript, names: list[str], rule: bytes, started_ns: int) -> None:
        self.transcript = transcript
        self.key = transcript.digest()
        self.names = names
        self.rule = rule
        self.started_ns = started_ns


def applies(action: Action) -> bool:
    """Whether a compile may go by its text."""
    plan = action.plan
    quiet = not (plan.places or plan.opaque) and plan.dialect == DIALECT
    # What -imacros reads leaves no trace in the text, and a -MMD depfile may leave it out.
    unseen = (PREPROCESSOR, "-imacros") in plan.words and not plan.system_headers
    # Some warnings hang on whether a macro or the text itself says something.
    lenient = not any(word.startswith(STRICT) for _, word in plan.words)
    # The object hangs on these, the text does not.
    told = any(os.path.exists(absolute(path, action.cwd)) for path in clang_files.settings(action))
    return plan.language in LANGUAGES and quiet and lenient and not plan.comments and not unseen and not told


def read(action: Action, store: Store) -> Text | None:
    """Preprocess; None where that fails, or the compile cannot go by its text after all."""
    rule_path = store.scratch("rule")
    try:
        data = cc_compile.preprocessed(action, rule_path, store)
        rule = read_file(rule_path)
    finally:
        remove(rule_path)
    if data is None or rule is None or UNFIT.search(data):
        return None
    if action.compiler.family == CLANG and not all(map(LITERAL.fullmatch, PRAGMA.findall(data))):
        return None
    digest, marked = _digest(data, action)
    names = marked if action.plan.depfile and not action.plan.system_headers else depfile.parse(rule)
    if not names:
        return None
    return Text(_key(action, digest), names, rule if action.plan.depfile else b"", action.started_ns)


def _digest(data: bytes, action: Action) -> tuple[str, list[str]]:
    """(a digest of the text without line numbers, with placeholders in the names of files; these names)."""
    hasher = blake3()
    names: dict[str, None] = {}
    for line in data.split(b"\n"):
        match = _MARKER.match(line) if line.startswith(b"# ") else None
        if match is None:
            if line and not line.isspace():
                hasher.update(line + b"\n")
            continue
        name = os.fsdecode(match[1].replace(b"\\\\", b"\\").replace(b'\\"', b'"'))
        normal = action.roots.normalise(name) if name.startswith("/") else name
        hasher.update(b"# " + os.fsencode(normal) + match[2] + b"\n")
        if not name.startswith("<") and not name.endswith("//"):
            names[name] = None
    return hasher.hexdigest(), list(names)


def _key(action: Action, digest: str) -> Transcript:
    """The key of a text: all of the action's but what only the preprocessor reads."""
    key = Transcript()
    key.add("schema", SCHEMA)
    left_out = {PREPROCESSOR, "depfile", *("env " + name for name in PATH_VARIABLES)}
    for tag, value in action.transcript.fields:
        if tag not in left_out and not tag.startswith("search "):
            key.add(tag, value)
    key.add("text", digest)
    return key


def restore(text: Text, action: Action, store: Store, event: Event) -> Candidate | None:
    """Put back the object that was made of this text, and its depfile; the candidate that says so for the next time, or
    None where there is none. Raises OSError, NotStored."""
    entry = store.read_entry(text.key)
    for known in entry.candidates() if entry is not None else ():
        if any(action.roots.by_name.get(name) != value for name, value in known.bindings):
            continue
        collected = _candidate(text, action, known, store)
        for data in collected.texts:
            store.put_bytes(data)
        if not cc_replay.restore(collected.candidate, action, store, event):
            continue
        if text.rule:
            replace_file(action.depfile(), text.rule)
        store.touch_entry(text.key)
        own = store.read_entry(action.key) or empty()
        store.write_entry(action.key, own.with_candidate(collected.candidate, action.transcript.fields))
        return collected.candidate
    return None


def _candidate(text: Text, action: Action, known: Candidate, store: Store) -> cc_collect.Collected:
    """What the direct way needs to know of a compile that went by its text. Raises NotStored, OSError."""
    candidate = Candidate()
    collected = cc_collect.Collected(candidate)
    candidate.crate_name = action.plan.crate_name
    candidate.crate_types = action.plan.language
    candidate.compile_ms = known.compile_ms
    candidate.created = text.started_ns // 1_000_000_000
    candidate.inputs, _ = cc_collect.read(action, text.names, text.started_ns, store, by_text=True)
    candidate.bindings = known.bindings
    candidate.outputs = [output for output in known.outputs if output.emit == cc_replay.OBJECT]
    if text.rule:
        stored = depfile.template(text.rule, action)
        if stored is None:
            raise cc_collect.NotStored("the depfile is of a form that is not known")
        collected.texts.append(stored)
        digest = blake3(stored).hexdigest()
        candidate.outputs.append(Output(cc_replay.DEPFILE, cc_replay.DEPFILE, digest, len(stored), False))
    candidate.cache_key = candidate.compute_cache_key(action.key)
    return collected


def keep(text: Text, finished: Finished, made: Candidate, store: Store) -> None:
    """Keep a compile under its text, where it said nothing. Raises OSError."""
    if finished.stderr or finished.stdout:
        return
    candidate = Candidate()
    candidate.crate_name = made.crate_name
    candidate.crate_types = made.crate_types + " text"
    candidate.created = made.created
    candidate.compile_ms = made.compile_ms
    candidate.bindings = made.bindings
    candidate.outputs = [output for output in made.outputs if output.emit == cc_replay.OBJECT]
    candidate.stdout = candidate.stderr = Stream()
    candidate.cache_key = candidate.compute_cache_key(text.key)
    entry = store.read_entry(text.key) or empty()
    store.write_entry(text.key, entry.with_candidate(candidate, text.transcript.fields))
