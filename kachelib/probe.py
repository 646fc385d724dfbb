"""Asking compilers and linkers what they are. Cold: toolchain.py keeps the answers.

Owns the questions. Everything is asked with LC_ALL=C, so that a banner is the
same under every locale.
"""

from __future__ import annotations

import glob
import os
import re
import subprocess

from kachelib.store import digest_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

# Statically linked into every executable, whatever its libraries: where they
# differ, so do outputs, though no banner says so.
RUNTIME_FILES = (
    "crt1.o",
    "Scrt1.o",
    "rcrt1.o",
    "crti.o",
    "crtn.o",
    "crtbegin.o",
    "crtbeginS.o",
    "crtend.o",
    "crtendS.o",
    "libgcc.a",
    "libgcc_eh.a",
    "libc_nonshared.a",
    "libc.so.6",
    # of static links
    "crtbeginT.o",
    "libc.a",
    "libdl.a",
    "libm.a",
    "libpthread.a",
    "librt.a",
    "libstdc++.a",
    "libutil.a",
)

TIMEOUT = 30


class Compiler:
    """What a compiler said: ``-vV``, its driver's version, its sysroot; and how many processes that took."""

    __slots__ = ("driver", "runs", "sysroot", "version")

    def __init__(self, version: str, driver: str, sysroot: str, runs: int) -> None:
        self.version = version
        self.driver = driver
        self.sysroot = sysroot
        self.runs = runs


class Linker:
    """A linker's identity as text, and the files and directories whose metadata say that it still holds; absent: the
    files that must not appear, for they would be found first."""

    __slots__ = ("absent", "files", "text")

    def __init__(self, text: str, files: list[str], absent: list[str]) -> None:
        self.text = text
        self.files = files
        self.absent = absent


def compiler(program: str, rustc: str, environ: dict[str, str]) -> Compiler | None:
    """Ask ``rustc`` for version and sysroot, and ``program`` for its version where that is a driver around it."""
    version = _ask([rustc, "-vV"], environ, warnings=False)
    sysroot = _ask([rustc, "--print", "sysroot"], environ, warnings=False)
    driver = "" if program == rustc else _ask([program, "--version"], environ)
    if not version or not sysroot or driver is None:
        return None
    version += _unnamed(rustc, version, sysroot.strip())
    return Compiler(version, driver, sysroot.strip(), 2 if program == rustc else 3)


def is_unnamed(version: str) -> bool:
    """Whether a compiler was built from sources that its version does not name: no commit, or somebody's own tree."""
    return "-dev" in version or "commit-hash: unknown" in version


def _unnamed(rustc: str, version: str, sysroot: str) -> str:
    """What tells apart two compilers that say the same of themselves."""
    text = ""
    if is_script(rustc):
        text += "script: " + digest_file(rustc) + "\n"
    if is_unnamed(version):
        for path in sorted(glob.glob(glob.escape(sysroot) + "/lib/librustc_driver*")):
            state = os.stat(path)
            text += f"library: {os.path.basename(path)} {state.st_size} {state.st_mtime_ns}\n"
    return text


def linker(path: str, flags: list[str], environ: dict[str, str]) -> Linker | None:
    """Ask a linker, or the C compiler that drives it, for banners, and hash what it links into everything."""
    banner = _ask([path, "--version"], environ) or _ask([path, "-v"], environ)
    if banner is None:
        return None
    files = [path]
    absent: list[str] = []
    lines = ["driver " + _first_line(banner)]
    if is_script(path):
        # What it adds to the command line is in no banner.
        lines.append("script " + digest_file(path))
    lines += ["machine " + (_ask([path, "-dumpmachine"], environ) or "").strip()]
    directories = search_directories(lambda words: _ask([path, *flags, *words], environ))
    for name in _linker_names(flags):
        said = (_ask([path, *flags, "-print-prog-name=" + name], environ) or "").strip()
        found, passed = look_for(name, said, directories["programs"], environ)
        absent += passed
        if found and os.path.exists(found):
            files.append(found)
            lines.append(name + " " + _first_line(_ask([found, "--version"], environ) or ""))
            if is_script(found):
                lines.append("script " + digest_file(found))
    settings, nowhere = settings_files(lambda words: _ask([path, *words], environ), banner, directories)
    absent += nowhere
    for file in settings:
        files.append(file)
        lines.append("settings " + digest_file(file))
    if "clang" in banner:
        files += configuration_directories(path, banner)
    for name in RUNTIME_FILES:
        found = (_ask([path, *flags, "-print-file-name=" + name], environ) or "").strip()
        if os.path.isabs(found) and os.path.isfile(found):
            files.append(found)
            lines.append(name + " " + digest_file(found))
    for place in dict.fromkeys(directories["libraries"]):
        # A runtime file that appears there may be found first.
        if os.path.isdir(place):
            files.append(place)
        elif not os.path.exists(place):
            absent.append(place)
    return Linker("\n".join(lines), files, absent)


def search_directories(ask: Callable[[list[str]], str | None]) -> dict[str, list[str]]:
    """Where a driver looks for "programs" and "libraries", and where it was put ("install"): what -print-search-dirs
    says, first place first."""
    found: dict[str, list[str]] = {"install": [], "programs": [], "libraries": []}
    for line in (ask(["-print-search-dirs"]) or "").split("\n"):
        kind, _, rest = line.partition(": ")
        if kind in found:
            found[kind] = [directory for directory in rest.lstrip("=").split(":") if directory]
    return found


def settings_files(
    ask: Callable[[list[str]], str | None], banner: str, directories: dict[str, list[str]]
) -> tuple[list[str], list[str]]:
    """Files that change what a driver does: Clang's configuration, GCC's specs; and where GCC looks for specs that are
    not there."""
    found = re.findall(r"^Configuration file: (.+)$", banner, re.MULTILINE)
    absent = [os.path.join(place, "specs") for place in directories["install"] + directories["libraries"]]
    specs = (ask(["-print-file-name=specs"]) or "").strip()
    files = [path for path in (*found, specs) if os.path.isabs(path) and os.path.isfile(path)]
    return files, [path for path in dict.fromkeys(absent) if not os.path.exists(path)]


def configuration_directories(program: str, banner: str) -> list[str]:
    """Where Clang looks for configuration files (Clang manual, "Configuration files")."""
    named = re.findall(r"^(?:InstalledDir|(?:System|User) configuration file directory): (.+)$", banner, re.MULTILINE)
    places = [os.path.dirname(program), os.path.dirname(os.path.realpath(program)), *named]
    return [path for path in dict.fromkeys(places) if os.path.isdir(path)]


def is_script(path: str) -> bool:
    """Whether a program hands over to another one."""
    with open(path, "rb") as file:
        return file.read(2) == b"#!"


def _linker_names(flags: list[str]) -> list[str]:
    # GCC's collect2 looks for the first two before any other.
    names = ["real-ld", "collect-ld", "ld"]
    for flag in flags:
        match = re.search(r"-fuse-ld=([^,]+)$", flag)
        if match:
            names.append(match[1] if "/" in match[1] else "ld." + match[1])
    return names


def look_for(name: str, said: str, directories: list[str], environ: dict[str, str]) -> tuple[str, list[str]]:
    """(the program that a driver starts, "" when it is not there; the paths before it at which there was nothing).

    said: what the driver says of it; a bare name where that is looked up on PATH. directories: where it looks before.
    """
    passed: list[str] = []
    for directory in directories:
        path = os.path.join(directory, name)
        if path == said:
            break
        if not os.path.exists(path):
            passed.append(path)
    passed = list(dict.fromkeys(passed))
    said = said or name
    if "/" in said:
        return said, passed
    for directory in environ.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":"):
        path = os.path.join(directory or ".", said)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path, passed
        if not os.path.exists(path):
            passed.append(path)
    return "", passed


def _first_line(text: str) -> str:
    return text.strip().split("\n")[0]


def _ask(command: list[str], environ: dict[str, str], warnings: bool = True) -> str | None:
    """What ``command`` prints, on standard error too with ``warnings``; None when it fails."""
    try:
        done = subprocess.run(
            command,
            env={**environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if warnings else subprocess.DEVNULL,
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return os.fsdecode(done.stdout) if done.returncode == 0 else None
