"""What a linker read, and what its output needs to run. Cold: imported on a miss.

Owns the reading of ``--print=link-args`` and of ELF headers. A linked output's
dependencies of dependencies are named by no --extern, so their files are
recorded as inputs, by content, as the linker was given them.
"""

import posix
import sys

from kachelib import memo, nix
from kachelib.action import includes_more, is_thin, linker_flags, linker_name, possible_names
from kachelib.entry import ABSENT, FILE, Input
from kachelib.roots import TARGET, absolute, exists

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List

    from kachelib.action import Action
    from kachelib.compile import Finished
    from kachelib.entry import Candidate
    from kachelib.store import Store

# Libraries of every system: their version is part of the linker's identity.
# Where the linker looks by itself.
SYSTEM_PLACES = ("/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/")
SYSTEM_LIBRARIES = frozenset("System c dl gcc gcc_eh gcc_s iconv m pthread rt stdc++ util".split())

# GNU ld's and its driver's (GCC manual, "Options for Directory Search": -B counts for libraries as well).
DIRECTORY_OPTIONS = ("-L", "--library-path", "-B")
LIBRARY_OPTIONS = ("-l", "--library")
SCRIPT_OPTIONS = ("-T", "-dT", "--script", "--default-script", "--version-script", "--dynamic-list")
SECTION_OPTIONS = ("-Ttext", "-Tdata", "-Tbss", "-Trodata", "-Tldata")
PROGRAM_OPTIONS = ("-fuse-ld", "--ld-path")
# What these write besides the output would be missing after a hit.
SIDE_OUTPUTS = ("-Map", "--Map", "--dependency-file", "--out-implib", "--reproduce", "--repro", "-save-temps",
                "--save-temps", "--time-trace", "--lto-obj-path", "--separate-debug-file", "--cref")  # fmt: skip
# A script is text, and no longer than this.
MOST_SCRIPT = 1 << 20
NO_PREFIX = ("-Bstatic", "-Bdynamic", "-Bsymbolic", "-Bsymbolic-functions", "-Bgroup")

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_STRTAB, DT_RPATH, DT_RUNPATH = 5, 15, 29


def add_inputs(action: "Action", finished: "Finished", candidate: "Candidate", store: "Store") -> None:
    """Record every file outside the toolchain that the linker was given. Raises NotStored, OSError."""
    from kachelib.collect import NotStored

    if not finished.link_arguments:
        raise NotStored("the linker that is known was not called")
    paths: "Dict[str, None]" = {}
    for line in finished.link_arguments:
        words = split_command(line.decode("utf-8", "surrogateescape"))
        for path in _files(words, action):
            paths[path] = None
    for path in paths:
        if not exists(path):
            candidate.inputs.append(Input(ABSENT, action.roots.normalise(path), ""))
            continue
        if is_thin(path):
            raise NotStored("%s is a thin archive" % path)
        state = posix.stat(path)
        if state.st_size < MOST_SCRIPT and not path.startswith(SYSTEM_PLACES) and includes_more(path):
            raise NotStored("%s is a script of the linker that reads others" % path)
        # Below the target each new link to a shared inode moves its ctime.
        shared = path.startswith(action.roots.by_name.get(TARGET, "") + "/")
        if max(state.st_mtime_ns, 0 if shared else state.st_ctime_ns) >= finished.started_ns:
            raise NotStored("%s changed during the compile" % path)
        candidate.inputs.append(Input(FILE, action.roots.normalise(path), memo.file_digest(path, store)))


def is_linker_call(line: bytes, action: "Action") -> bool:
    """Whether a line of standard output is what ``--print=link-args`` prints, and not a macro's."""
    if not line.startswith((b'"', b"env -u ", b"LC_ALL=", b"PATH=", b"VSLANG=")):
        return False
    words = split_command(line.decode("utf-8", "surrogateescape"))
    return len(words) > 3 and line.count(b'"') > 6 and _is_expected(words[0], action)


def _is_expected(program: str, action: "Action") -> bool:
    name = linker_name(action)
    # Linkers of the toolchain itself (rust-lld) go with its version.
    return program == name or program.rpartition("/")[2] in ("rust-lld", "wasm-ld") or program.startswith(
        action.toolchain.sysroot + "/"
    )


def split_command(line: str) -> "List[str]":
    """The words of a command that rustc printed: quoted, with Rust's escapes, led by ``NAME="value"`` settings."""
    words: "List[str]" = []
    word = ""
    quoted = escaped = started = False
    for char in line.strip():
        if escaped:
            word += {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}.get(char, char)
            escaped = False
        elif quoted and char == "\\":
            escaped = True
        elif char == '"':
            quoted, started = not quoted, True
        elif char == " " and not quoted:
            if started or word:
                words.append(word)
            word, started = "", False
        else:
            word += char
    if started or word:
        words.append(word)
    return _without_settings(words)


def _without_settings(words: "List[str]") -> "List[str]":
    index = 0
    while index < len(words):
        if words[index] == "env":
            index += 1
        elif words[index] == "-u":
            index += 2
        elif "=" in words[index] and words[index].partition("=")[0].replace("_", "a").isalnum():
            index += 1
        else:
            break
    return words[index:]


def _files(words: "List[str]", action: "Action") -> "List[str]":
    """The files outside the toolchain and outside rustc's own temporaries that a linker's words name."""
    from kachelib.collect import NotStored

    sysroot = action.toolchain.sysroot + "/"
    out_dir = action.out_dir()
    files: "List[str]" = []
    previous = ""
    for word in words[1:]:
        if previous not in ("-o", "-L", "-B") and not word.startswith("-"):
            path = absolute(word, action.cwd)
            if _is_temporary(path, out_dir, action):
                pass
            elif not path.startswith(sysroot):
                if not exists(path):
                    raise NotStored("the linker read %s, which is gone" % word)
                files.append(path)
        previous = word
    handed = _handed(words)
    files += _named_in_options(handed, out_dir, sysroot, action)
    named, libraries = _searched(handed)
    # The driver searches these after all that it was given.
    named += [place or "." for place in action.environ.get("LIBRARY_PATH", "").split(":") if place]
    directories = [absolute(place, action.cwd) for place in named]
    for name in libraries:
        if name in SYSTEM_LIBRARIES:
            # The linker's own, unless somebody has one of that name.
            own = [path for path in directories if not (path + "/").startswith(SYSTEM_PLACES)]
            files += _candidates(name, own, sysroot, action)
        else:
            files += _library(name.lstrip(":"), directories, sysroot, action)
    return files


def _handed(words: "List[str]") -> "List[str]":
    """A linker's words, with what its driver only hands on as words of their own."""
    handed: "List[str]" = []
    for word in words[1:]:
        handed += word.split(",")[1:] if word.startswith("-Wl,") else [] if word == "-Xlinker" else [word]
    return handed


def _named_in_options(handed: "List[str]", out_dir: str, sysroot: str, action: "Action") -> "List[str]":
    """The files that options name. Raises NotStored for a script that is looked for, and for a file that is written."""
    from kachelib.collect import NotStored

    files: "List[str]" = []
    for previous, word in zip(["", *handed], handed):
        if word.startswith(SIDE_OUTPUTS):
            raise NotStored("the linker writes another file: %s" % word)
        script = _script(previous, word)
        path = absolute(script, action.cwd)
        if script and not exists(path) and not _is_temporary(path, out_dir, action):
            raise NotStored("the linker looks for the script %s" % script)
        if script and exists(path) and not path.startswith(sysroot):
            files.append(path)
        if word.startswith("-") and not word.startswith(PROGRAM_OPTIONS):
            for name in possible_names(word):
                path = absolute(name, action.cwd)
                if not path.startswith(sysroot) and not _is_temporary(path, out_dir, action) and _is_regular(path):
                    files.append(path)
    return files


def _script(previous: str, word: str) -> str:
    """The script that a word names by itself, or as what follows an option; "" for none. ld takes its long options with
    one dash as well."""
    if previous in SCRIPT_OPTIONS or "-" + previous in SCRIPT_OPTIONS:
        return word
    for option in SCRIPT_OPTIONS:
        if option.startswith("--"):
            for spelled in (option + "=", option[1:] + "="):
                if word.startswith(spelled):
                    return word[len(spelled) :]
        elif word.startswith(option) and word != option and not word.startswith(SECTION_OPTIONS):
            return word[len(option) :]
    return ""


def _is_regular(path: str) -> bool:
    try:
        return posix.stat(path).st_mode & 0o170000 == 0o100000
    except (OSError, ValueError):
        return False


def _searched(handed: "List[str]") -> "tuple[List[str], List[str]]":
    """(the directories, the libraries) that a linker's words name."""
    directories: "List[str]" = []
    libraries: "List[str]" = []
    for previous, word in zip(["", *handed], handed):
        for options, found in ((DIRECTORY_OPTIONS, directories), (LIBRARY_OPTIONS, libraries)):
            if previous in options:
                found.append(word)
            for option in options:
                joined = option + "=" if option.startswith("--") else option
                if word.startswith(joined) and word != option and word not in NO_PREFIX:
                    found.append(word[len(joined) :])
    return directories, libraries


def _is_temporary(path: str, out_dir: str, action: "Action") -> bool:
    """What rustc wrote for this link: ``STEM.….rcgu.o`` in the output directory, and all in its ``rustc??????``.

    Of 1.63 and 1.85 also a proc macro's metadata as an object, ``STEM.….rcgu.rmeta``, beside its output.
    """
    directory, _, name = path.rpartition("/")
    stem = action.plan.output_stem()
    if directory == out_dir and name.startswith(stem + ".") and name.endswith((".o", ".rcgu.rmeta")):
        return True
    parts = path.split("/")
    for index, part in enumerate(parts[:-1]):
        # Gone by now: a directory of the user's may be called so as well.
        if part.startswith("rustc") and len(part) == 11 and not exists("/".join(parts[: index + 1])):
            return True
    return False


def _candidates(name: str, directories: "List[str]", sysroot: str, action: "Action") -> "List[str]":
    """The files that ``-lNAME`` may stand for in these directories, whether they are there or not."""
    found = []
    for directory in directories:
        for file in ("lib" + name + ".so", "lib" + name + ".a", "lib" + name + ".dylib", name):
            path = directory + "/" + file
            if not path.startswith(sysroot) and not _is_temporary(path, "", action):
                # One that is not there counts as well: should it appear, it may be the one.
                found.append(path)
    return found


def _library(name: str, directories: "List[str]", sysroot: str, action: "Action") -> "List[str]":
    """Where ``-lNAME`` was looked for. Every place on the path counts: the linker took one of them."""
    found = _candidates(name, directories, sysroot, action)
    if any(exists(path) for path in found):
        return found
    import subprocess

    from kachelib import probe
    from kachelib.collect import NotStored

    def ask(words: "List[str]") -> str:
        command = [linker_name(action), *linker_flags(action.plan.codegen), *words]
        done = subprocess.run(command, capture_output=True, check=False, env=action.environ)
        return done.stdout.decode("utf-8", "surrogateescape")

    try:
        places = [absolute(place, action.cwd) for place in probe.search_directories(ask)["libraries"]]
        for file in ("lib" + name + ".so", "lib" + name + ".a"):
            path = ask(["-print-file-name=" + file]).strip()
            if path.startswith("/") and exists(path):
                found.append(path)
            # One that appears may be the one as well.
            found += [place + "/" + file for place in places if not exists(place + "/" + file)]
    except OSError:
        pass
    if sys.platform == "linux" and not any(exists(path) for path in found):
        raise NotStored("the library %s was found where nobody told" % name)
    return found


def needs(paths: "List[str]") -> "List[str]":
    """What must exist for these executables to start: ELF interpreters, Nix store directories on their search paths."""
    found: "Dict[str, None]" = {}
    for path in paths:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            for each in _elf_needs(fd):
                found[each] = None
        finally:
            posix.close(fd)
    return list(found)


def _elf_needs(fd: int) -> "List[str]":
    """PT_INTERP and the Nix store directories of DT_RUNPATH (System V ABI, chapter 5); nothing for no ELF file."""
    head = posix.read(fd, 64)
    if head[:4] != b"\x7fELF" or len(head) < 64:
        return []
    wide = head[4] == 2

    def number(data: bytes, at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], "little" if head[5] == 1 else "big")

    table, entry_size, count = (
        (number(head, 32, 8), number(head, 54, 2), number(head, 56, 2))
        if wide
        else (number(head, 28, 4), number(head, 42, 2), number(head, 44, 2))
    )
    segments = []
    for index in range(count):
        row = posix.pread(fd, entry_size, table + index * entry_size)
        if wide:
            segments.append((number(row, 0, 4), number(row, 8, 8), number(row, 16, 8), number(row, 32, 8)))
        else:
            segments.append((number(row, 0, 4), number(row, 4, 4), number(row, 8, 4), number(row, 16, 4)))
    found = []
    for kind, offset, _address, size in segments:
        if kind == PT_INTERP:
            found.append(posix.pread(fd, size, offset).rstrip(b"\0").decode("utf-8", "surrogateescape"))
        elif kind == PT_DYNAMIC:
            width = 8 if wide else 4
            data = posix.pread(fd, size, offset)
            tags = {}
            for at in range(0, len(data) - width, 2 * width):
                tags[number(data, at, width)] = number(data, at + width, width)
            for tag in (DT_RPATH, DT_RUNPATH):
                if tag in tags and DT_STRTAB in tags:
                    start = _file_offset(tags[DT_STRTAB], segments) + tags[tag]
                    text = posix.pread(fd, 65536, start).partition(b"\0")[0].decode("utf-8", "surrogateescape")
                    found += [place for place in text.split(":") if place.startswith(nix.STORE + "/")]
    return found


def _file_offset(address: int, segments: "List[tuple[int, int, int, int]]") -> int:
    for kind, offset, start, size in segments:
        if kind == PT_LOAD and start <= address < start + size:
            return offset + address - start
    return address
