"""Extra inputs: what a crate's own ``kache.toml`` declares, and which files that is now.

Owns the rules of that file: globs relative to the crate, union only, declared
patterns count even where they name nothing. Knows nothing of keys: the action
hashes the content. TOML is parsed when the file has changed (config_file); in
between the patterns come from a memo, but the tree is walked on every compile.

Fields of that memo, joined by NUL, which no pattern holds (version and checksum: memo.py):

    state { pattern }

    state   identity and path of the file, version of kache

What is wrong with a file is not kept: it may not be in the file.
"""

import posix
import time

from kachelib import VERSION, glob_walk, globs, memo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Set, Tuple

FILE_NAME = "kache.toml"

# From here on people are told that a pattern is too wide.
MANY_FILES = 10_000


class ExtraInputs:
    """What one ``kache.toml`` declares.

    file: its absolute path. patterns: as written, in order. files: (name, absolute path) of what they name now,
    sorted; a name is relative to the crate, with ".." where it must, and absolute for an absolute pattern.
    directories: absolute and sorted; one of their times moves when another file may be named. warnings: one line
    each. error: one line, "" when the file can be used; then nothing else is filled in.
    """

    __slots__ = ("directories", "error", "file", "files", "patterns", "warnings")

    def __init__(self, file: str) -> None:
        self.file = file
        self.patterns: "Tuple[str, ...]" = ()
        self.files: "Tuple[Tuple[str, str], ...]" = ()
        self.directories: "Tuple[str, ...]" = ()
        self.warnings: "Tuple[str, ...]" = ()
        self.error = ""


def read(manifest_dir: str, memo_dir: str) -> "Optional[ExtraInputs]":
    """What the crate in ``manifest_dir`` (absolute) declares; None when it has no ``kache.toml``. Never raises."""
    path = manifest_dir.rstrip("/") + "/" + FILE_NAME
    now = time.time_ns()
    try:
        status = posix.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        extra = ExtraInputs(path)
        extra.error = f"{path} cannot be read: {error.strerror}"
        return extra
    extra = ExtraInputs(path)
    extra.patterns, extra.error = _declared(path, status, now, memo_dir)
    if not extra.error:
        _look_up(extra, manifest_dir)
    if extra.error:
        extra.patterns = extra.files = extra.directories = extra.warnings = ()
    return extra


def _declared(path: str, status: posix.stat_result, now: int, memo_dir: str) -> "Tuple[Tuple[str, ...], str]":
    """The patterns, and what is wrong with the file or ""."""
    state = f"{memo.identity(status).decode()} {VERSION} {path}"
    memo_path = memo.path_of(memo_dir, "extra-inputs", path) if memo_dir else ""
    body = memo.read(memo_path) if memo_path else None
    if body is not None:
        fields = body.decode("utf-8", "surrogateescape").split("\0")
        if fields[0] == state:
            return tuple(fields[1:]), ""
    from kachelib import config_file

    patterns, error = config_file.read_extra_inputs(path)
    if memo_path and not error and not memo.is_racy((status,), now):
        memo.write(memo_path, "\0".join((state, *patterns)).encode("utf-8", "surrogateescape"))
    return patterns, error


def _look_up(extra: ExtraInputs, manifest_dir: str) -> None:
    """Fill in what the patterns name, or the error."""
    files: "Dict[str, str]" = {}
    directories: "Set[str]" = set()
    warnings: "List[str]" = []
    for pattern in extra.patterns:
        try:
            found = glob_walk.walk(pattern, manifest_dir)
        except glob_walk.TooMany:
            extra.error = (
                f"{extra.file}: '{pattern}' spans more than {glob_walk.MOST_VISITED} files and directories; narrow it"
            )
            return
        except OSError as error:
            extra.error = f"{extra.file}: '{pattern}': {error.filename}: {error.strerror}"
            return
        except ValueError as error:
            extra.error = f"{extra.file}: '{pattern}': {error}"
            return
        warnings += _warnings(extra.file, pattern, found)
        directories |= found.directories
        for path in found.files:
            files[path if pattern.startswith("/") else _relative(path, manifest_dir)] = path
    extra.files = tuple(sorted(files.items()))
    extra.directories = tuple(sorted(directories))
    extra.warnings = tuple(warnings)


def _warnings(file: str, pattern: str, found: glob_walk.Walk) -> "List[str]":
    said = []
    if found.whole_disk:
        said.append("matches the root of the file system, which is walked on every compile; narrow it")
    elif globs.leaves(pattern):
        said.append("reaches outside the crate, so its cache entries are good only where that place is the same")
    if len(found.files) > MANY_FILES:
        said.append(f"matches {len(found.files)} files, which are looked up on every compile; narrow it")
    if pattern[:1] == "~" or "$" in pattern:
        said.append("is taken as it is written: ~ and variables are not replaced here")
    return [f"{file}: '{pattern}' {text}" for text in said]


def _relative(path: str, base: str) -> str:
    """``path`` as seen from the directory ``base``, both absolute, from the text alone."""
    there = _names(path)
    here = _names(base)
    same = 0
    while same < len(here) and same < len(there) and here[same] == there[same]:
        same += 1
    return "/".join([".."] * (len(here) - same) + there[same:])


def _names(path: str) -> "List[str]":
    return globs.normalise(path).strip("/").split("/")
