"""``kache init``: make kache Cargo's compiler wrapper, or undo that.

Owns what init writes: the wrapper in Cargo's configuration, the interpreter
that the file starts with, links named like C compilers. How Cargo's file is changed is cargo_config's.
"""

import argparse
import os
import re
import sys
from typing import Dict, List

from kachelib import bundle, cargo_config, config, console
from kachelib.outcome import ConfigError, KacheError, UsageError

# The names that the file knows itself by as a C compiler (launcher/header.sh).
C_COMPILER = re.compile(r"(?:.+-)?(?:cc|gcc|c\+\+|g\+\+|clang|clang\+\+|clang-cl)(?:-[0-9][0-9.]*)?")


def run(argv: List[str]) -> int:
    """``kache init``; returns the exit code."""
    parser = console.Parser(
        "init",
        "Make kache Cargo's compiler wrapper: writes build.rustc-wrapper into Cargo's configuration\n"
        "($CARGO_HOME/config.toml) and remembers the Python that runs kache now. Nothing else is changed,\n"
        "and --undo takes it back. With --shims, Cargo's configuration is left alone: DIR gets a link to kache for\n"
        "every C compiler on PATH, for builds that cannot be told CC=\"kache cc\"; put DIR first on PATH.",
        "Exit codes: 0 done, or with --check: Cargo calls this kache; 1 failed, or it does not; 2 wrong use.",
    )
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="only say what would be changed")
    what.add_argument("--undo", action="store_true", help="put Cargo's configuration back as it was")
    parser.add_argument("--shims", metavar="DIR", help="make links named cc, gcc, clang... there that point to kache")
    options = parser.parse_args(argv)
    environ = config.environment()
    if options.shims is not None:
        return shims(os.path.abspath(options.shims), environ, options)
    file = cargo_file(environ)
    if options.undo:
        return undo(file, environ)
    program = wrapper_path()
    if options.check:
        return check(file, program, environ)
    return init(file, program, environ, ask=not options.yes)


def cargo_file(environ: Dict[str, str]) -> str:
    """Cargo's own configuration file, which may not exist. Raises ConfigError where nobody knows its place."""
    if not environ.get("CARGO_HOME") and not environ.get("HOME"):
        raise ConfigError("neither CARGO_HOME nor HOME is set: Cargo's configuration has no place")
    return cargo_config.path(environ, environ.get("HOME", ""))


def wrapper_path() -> str:
    """The absolute path that Cargo can start this kache by. Raises KacheError where there is none."""
    path = bundle.location() or os.path.abspath(sys.argv[0])
    if not os.path.isfile(path) or not os.access(path, os.X_OK):
        raise KacheError(
            f"{path} is not a program that Cargo could start; make it executable: chmod +x, or install kache"
        )
    return path


def init(file: str, program: str, environ: Dict[str, str], ask: bool) -> int:
    """Write the wrapper into ``file``; idempotent."""
    before = cargo_config.read(file)
    changed = cargo_config.with_wrapper(before, program, file)
    if changed == before:
        print(f'{file}: rustc-wrapper is "{program}" already')
    else:
        old = cargo_config.wrapper(before, file)
        instead = f' instead of "{old}"' if old else ""
        if ask and not _agreed(f'set rustc-wrapper = "{program}"{instead} in {file}?'):
            print("nothing was changed")
            return 1
        cargo_config.write(file, changed)
        print(f'{file}: rustc-wrapper = "{program}"{instead}; undo with: kache init --undo')
    remember_python(environ)
    _warn_of_environment(environ, program)
    if not config.load(environ, (console.current_directory(),)).cache_executables:
        print(
            "build scripts, proc macros and programs are not cached by default: every new target builds them.\n"
            "'kache bench' in a project shows what KACHE_CACHE_EXECUTABLES=1 (cache.cache_executables) brings"
        )
    return 0


def shims(directory: str, environ: Dict[str, str], options: argparse.Namespace) -> int:
    """Make, take away, or with --check only name, the links in ``directory`` (absolute)."""
    program = bundle.location()
    if not program:
        raise KacheError("links have to point to the file kache; this one runs from its sources")
    here = {name for name in _names(directory) if os.path.realpath(f"{directory}/{name}") == os.path.realpath(program)}
    if options.undo:
        for name in sorted(here):
            os.unlink(f"{directory}/{name}")
        print(f"{directory}: {console.plural(len(here), 'link')} removed")
        return 0
    places = [place for place in environ.get("PATH", "").split(":") if place and os.path.abspath(place) != directory]
    wanted = sorted({name for place in places for name in _names(place) if C_COMPILER.fullmatch(name)})
    missing = [name for name in wanted if name not in here]
    if options.check:
        print(f"{directory}: {len(here)} of {console.plural(len(wanted), 'compiler')} on PATH go through kache")
        return 1 if missing else 0
    if not wanted:
        raise KacheError("no C compiler is on PATH: there is nothing to make links for")
    if missing and not options.yes and not _agreed(f"make {', '.join(missing)} in {directory}?"):
        print("nothing was changed")
        return 1
    os.makedirs(directory, exist_ok=True)
    for name in missing:
        try:
            os.symlink(program, f"{directory}/{name}")
        except FileExistsError:
            console.note(f"{directory}/{name} is there already and no link to kache: left as it is")
    print(f"{directory}: {', '.join(wanted)}\nput it first: export PATH={directory}:$PATH")
    return 0


def _names(directory: str) -> List[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def undo(file: str, environ: Dict[str, str]) -> int:
    """Take back what ``init`` wrote. A file that is empty then, and was made by it, is removed."""
    before = cargo_config.read(file)
    left = cargo_config.without_wrapper(before, file)
    if left == before:
        print(f"{file}: kache changed nothing there")
    elif left:
        cargo_config.write(file, left)
        print(f"{file}: as it was before kache")
    else:
        os.unlink(os.path.realpath(file))
        print(f"{file}: removed, it held nothing else")
    try:
        os.unlink(bundle.remembered_python_file(environ))
    except OSError:
        pass
    return 0


def check(file: str, program: str, environ: Dict[str, str]) -> int:
    """Say what ``init`` would do; 0 where there is nothing to do."""
    found = cargo_config.wrapper(cargo_config.read(file), file)
    _warn_of_environment(environ, program)
    if found == program:
        print(f'{file}: rustc-wrapper is "{program}"')
        return 0
    print(f'{file}: rustc-wrapper is {repr_of(found)}; kache init would set "{program}"')
    return 1


def remember_python(environ: Dict[str, str]) -> str:
    """Note the interpreter that runs now, for the next start of the file; returns the note's path, or ""."""
    path = bundle.remembered_python_file(environ)
    if not sys.executable or not path.startswith("/"):
        return ""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = f"{path}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(sys.executable + "\n")
        os.replace(temporary, path)
    except OSError as error:
        console.note(f"{path}: {error.strerror}; each start looks for python3 on PATH instead")
        return ""
    return path


def repr_of(value: str) -> str:
    """A value of Cargo's file for people."""
    return f'"{value}"' if value else "not set"


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("init: there is nobody to ask; say 'kache init -y'")
    print(f"{question} [Y/n] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("", "y", "yes")


def _warn_of_environment(environ: Dict[str, str], program: str) -> None:
    """The environment wins over the file."""
    for name in ("RUSTC_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"):
        value = environ.get(name)
        if value is not None and value != program:
            console.note(f"{name} is set to {repr_of(value)} and wins over Cargo's configuration; unset it")
            return
