#!/usr/bin/env python3
"""Make dist/kache: one file that is a shell script, the program and a zip, the same bytes every time.

Owns what goes into the file and where. launcher/ is what runs in it, launcher/compiler.py what code becomes,
requirements/parts.py what comes from other projects.
Downloads go through pip, against the hashes of requirements/bundle.lock, into build/, once.

    file    = header natives texts regions boot slow zip
    header  = launcher/header.sh with launcher/stub.py in it, padded to HEADER_SIZE
    natives = extension modules and what they need beside them, each zlib-compressed
    texts   = source text of modules that people wait for anyway, each zlib-compressed
    regions = for each known interpreter the code of all else; launcher/compiler.py has the layout
    boot, slow = source text, for an interpreter that is not known
    zip     = an ordinary archive: __main__.py, all sources, boto3 and what it needs, tomlkit, licences
"""

import argparse
import concurrent.futures
import contextlib
import fcntl
import glob
import hashlib
import marshal
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from requirements import parts
from requirements.parts import HERE, MINORS, PLATFORMS, Native, write
from requirements.wheels import BUILD, Problem, take_from

ROOT = Path(__file__).resolve().parent
HEADER_SIZE = 6144

# What only people call is compiled there and then: code for each interpreter is more than its text once.
TEXTS = (
    *("config_command", "config_edit", "config_editor", "config_fields", "config_show", "config_target"),
    *("config_value", "clean", "clean_screen", "descent", "extents", "mounts", "screen", "setting_texts", "survey"),
    *("target_lock", "target_removal", "target_size", "target_tree"),
    *("lanes", "report", "report_command", "report_html", "report_markdown", "report_page", "report_text"),
    *("report_timeline", "report_trace"),
    *("builds", "completions", "difference", "history", "pager", "past", "root_cause", "root_text", "shells", "why"),
    *("follower", "footprint", "lookout", "monitor", "overview", "panes", "sight", "stream", "tabs", "tally"),
    *("bench_command", "checks", "doctor", "integrity", "migrate", "reach", "service", "setup", "trial"),
    *("daemon_command", "key_command", "listing", "meter", "purge", "salt_command", "sync_command", "warm_command"),
)


class Interpreter(NamedTuple):
    """A CPython that compiles the program for its version."""

    minor: int
    version: str
    magic: str
    executable: str


def own_sources() -> Dict[str, bytes]:
    """The program: {path in the archive: content}."""
    paths = [ROOT / "kache.py", *sorted((ROOT / "kachelib").glob("*.py"))]
    return {str(path.relative_to(ROOT)): path.read_bytes() for path in paths}


def module_name(path: str) -> str:
    return path[: -len(".py")].replace("/", ".").replace(".__init__", "")


# Interpreters

ASK = (
    "import sys, _frozen_importlib_external as e\n"
    "print(sys.implementation.name, sys.version_info[1], sys.version.split()[0], e.MAGIC_NUMBER.hex(), end=' ')\n"
    "print(sys.executable)\n"
)


def ask(executable: str) -> Optional[Interpreter]:
    """What an interpreter is; None for one that does not run or is of no use."""
    try:
        run = subprocess.run(
            [executable, "-I", "-S", "-c", ASK], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = run.stdout.rstrip("\n").split(" ", 4)
    if run.returncode or len(words) != 5 or words[0] != "cpython" or int(words[1]) not in MINORS:
        return None
    return Interpreter(int(words[1]), words[2], words[3], words[4])


def interpreters(named: Sequence[str], only: bool) -> List[Interpreter]:
    """One CPython for each version: those named, else the newest release of it that is found.

    Raises Problem where a named one is of no use.
    """
    candidates = list(named) or [sys.executable]
    if not only:
        names = [f"python3.{minor}" for minor in MINORS] + ["python3"]
        candidates += [sys.executable, *filter(None, map(shutil.which, names))]
        root = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
        candidates += sorted(glob.glob(os.path.join(glob.escape(root), "versions/3.*/bin/python3")))
    candidates = list(dict.fromkeys(candidates))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answers = dict(zip(candidates, pool.map(ask, candidates)))
    for candidate in named:
        if answers[candidate] is None:
            raise Problem(f"--python {candidate}: no CPython from 3.{MINORS[0]} to 3.{MINORS[-1]}")
    found = {answer for answer in answers.values() if answer}
    first = [answers[candidate] for candidate in named]
    chosen: Dict[int, Interpreter] = {}
    for answer in sorted(found, key=lambda a: (a not in first, [-int(n) for n in re.findall(r"\d+", a.version)], a)):
        chosen.setdefault(answer.minor, answer)
    return [chosen[minor] for minor in sorted(chosen)]


def compiled(interpreter: Interpreter, request: bytes) -> Tuple[bytes, int]:
    """(region, length of its blob) as compiler.py makes it; kept in build/ until sources or interpreter change."""
    compiler = ROOT / "launcher" / "compiler.py"
    identity = repr((interpreter, os.stat(interpreter.executable).st_mtime_ns, "no columns")).encode()
    name = hashlib.sha256(b"\0".join((identity, compiler.read_bytes(), request))).hexdigest()
    kept = BUILD / "regions" / name
    if not kept.exists():
        run = subprocess.run(
            # Not -I: that would also ignore the seed, on which the order of a frozen set depends.
            [interpreter.executable, "-S", "-s", "-B", str(compiler)],
            input=request,
            capture_output=True,
            # Columns in line tables, which only the carets below a traceback's lines need, are a fifth of all code.
            env={"PYTHONHASHSEED": "0", "PYTHONNODEBUGRANGES": "1"},
            check=False,
        )
        if run.returncode:
            raise Problem(f"{interpreter.executable}: {run.stderr.decode().strip().splitlines()[-1:]}")
        write(kept, run.stdout)
    os.utime(kept)
    region, blob_length = marshal.loads(kept.read_bytes())
    return region, blob_length


# The file


class Layout:
    """The file as it grows; offsets are from its start."""

    def __init__(self) -> None:
        self.parts: List[bytes] = []
        self.size = HEADER_SIZE
        self.known: Dict[bytes, int] = {}

    def add(self, data: bytes) -> int:
        """Append, but bytes that are there already only once; returns the offset."""
        if data not in self.known:
            self.known[data] = self.size
            self.parts.append(data)
            self.size += len(data)
        return self.known[data]


def native_table(natives: Iterable[Native], layout: Layout) -> Dict[Tuple[str, str], object]:
    """What boot.py calls natives, with the files laid down."""
    return {
        (native.module, native.tag): (
            native.directory,
            native.files[-1].path,
            tuple((file.path, layout.add(file.packed), len(file.packed), file.size) for file in native.files),
        )
        for native in natives
    }


def zip_bytes(files: Dict[str, bytes], offset: int) -> bytes:
    """An archive that begins ``offset`` bytes into the file."""
    path = BUILD / f"zip-{os.getpid()}"
    try:
        with path.open("w+b") as stream:
            stream.truncate(offset)
            stream.seek(offset)
            with zipfile.ZipFile(stream, "w") as archive:
                for name in sorted(files):
                    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                    info.create_system = 3
                    info.external_attr = 0o100644 << 16
                    info.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(info, files[name], compresslevel=9)
            stream.seek(offset)
            return stream.read()
    finally:
        path.unlink()


def filled(name: str, **values: object) -> str:
    """A text of launcher/ with values for the names that it sets at its top."""
    text = (ROOT / "launcher" / name).read_text()
    for key, value in values.items():
        before, found, after = re.split(rf"(?m)^({key} = ).*$", text, maxsplit=1)
        text = f"{before}{found}{value!r}{after}"
    return text


def header(stub: str, python: str = "") -> bytes:
    """The shell script at the start. python: the interpreter where KACHE_PYTHON is not set, "" to look for one."""
    if "'" in stub:
        raise Problem("launcher/stub.py holds a single quote; it stands between two in the shell script")
    if not re.fullmatch(r"[\w/.+-]*", python, re.ASCII):
        raise Problem(f"--default-python {python}: the shell would read that otherwise")
    script = (ROOT / "launcher" / "header.sh").read_text().replace("@PYTHON@", python)
    text = script.replace("@STUB@", stub).encode()
    if len(text) > HEADER_SIZE:
        raise Problem(f"the header has {len(text)} bytes, {HEADER_SIZE} are kept for it")
    return text.ljust(HEADER_SIZE, b"\n")


def assemble(
    found: Sequence[Interpreter], minors: Sequence[int], platforms: Sequence[str], python: str = ""
) -> bytes:
    """All bytes of dist/kache."""
    own = own_sources()
    carried = parts.tomli() if min(minors) < 11 else {}
    natives = parts.native_wheels(minors, platforms)
    archive = {**own, **carried, **parts.vendored(minors), **parts.crypto(platforms), **parts.tomlkit()}
    archive.update(parts.licences(natives))
    archive.update((f"launcher/{name}", (ROOT / "launcher" / name).read_bytes()) for name in ("boot.py", "compiler.py"))
    layout = Layout()
    table = native_table(sorted(native for wheel in natives for native in parts.natives_of(wheel)), layout)
    build = hashlib.sha256(repr((sorted(archive.items()), table)).encode()).hexdigest()[:16]
    sources = {
        module_name(path): (data, path, path.endswith("/__init__.py"))
        for path, data in sorted({**own, **carried}.items())
        if path.endswith(".py")
    }
    archive["launcher/sources"] = marshal.dumps({name: source[1:] for name, source in sources.items()}, 2)
    boot = (ROOT / "launcher" / "boot.py").read_bytes()
    texts = {}
    for name in sorted({"kachelib." + name for name in TEXTS} & set(sources)):
        text, path, _ = sources.pop(name)
        data = parts.packed(text)
        texts[name] = ((layout.add(data), path), len(data), False)

    def region(interpreter: Interpreter) -> Tuple[bytes, int]:
        mine = {name: source for name, source in sources.items() if interpreter.minor < 11 or source[1] in own}
        its_natives = {key: value for key, value in table.items() if f".cpython-3{interpreter.minor}-" in key[1]}
        return compiled(interpreter, marshal.dumps((boot, mine, texts, its_natives, build), 2))

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        regions = list(pool.map(region, found))
    blobs = {interpreter.magic: (layout.add(data), length) for interpreter, (data, length) in zip(found, regions)}
    version = re.search(r'(?m)^VERSION = "(.+)"', own["kachelib/__init__.py"].decode())
    where = (layout.add(boot), len(boot))
    slow = filled("slow.py", NATIVES=table, BUILD=build, BOOT=where, VERSION=version and version[1]).encode()
    stub = filled("stub.py", BLOBS=blobs, SLOW=(layout.add(slow), len(slow))).replace("'", '"')
    archive["__main__.py"] = filled("main.py", STUB=stub).encode()
    return header(stub, python) + b"".join(layout.parts) + zip_bytes(archive, layout.size)


def forget_old(directory: Path) -> None:
    """Remove what no build has asked for in three days."""
    for path in directory.glob("*"):
        if path.stat().st_mtime < time.time() - 3 * 86400:
            path.unlink()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One builder at a time in build/."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "builder.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description="Make dist/kache.")
    parser.add_argument("--python", action="append", default=[], metavar="PATH", help="a CPython to compile for, too")
    parser.add_argument("--only", action="store_true", help="for those named alone; where none is, for the running one")
    parser.add_argument("--all-platforms", action="store_true", help="native modules for every platform and version")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="take these wheels as they are, and load none")
    parser.add_argument("--default-python", default="", metavar="PATH", help="run with it, unless KACHE_PYTHON is set")
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "kache", metavar="FILE")
    options = parser.parse_args(arguments)
    if options.wheels:
        take_from(options.wheels)
    try:
        with alone():
            found = interpreters(options.python, options.only)
            minors = list(MINORS) if options.all_platforms else [one.minor for one in found]
            platforms = tuple(PLATFORMS) if options.all_platforms else (HERE,)
            data = assemble(found, minors, platforms, options.default_python)
            write(options.output, data, 0o755)
            forget_old(BUILD / "regions")
    except Problem as problem:
        print(f"build_zipapp: {problem}", file=sys.stderr)
        return 1
    versions = ", ".join(one.version for one in found)
    print(f"{options.output}: {len(data):,} bytes, for Python {versions}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
