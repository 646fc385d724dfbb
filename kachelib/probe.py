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
    """A linker's identity as text, and the files whose metadata say that it still holds."""

    __slots__ = ("files", "text")

    def __init__(self, text: str, files: list[str]) -> None:
        self.text = text
        self.files = files


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
    lines = ["driver " + _first_line(banner)]
    if is_script(path):
        # What it adds to the command line is in no banner.
        lines.append("script " + digest_file(path))
    lines += ["machine " + (_ask([path, "-dumpmachine"], environ) or "").strip()]
    for name in _linker_names(flags):
        found = (_ask([path, *flags, "-print-prog-name=" + name], environ) or "").strip()
        found = found if "/" in found else _find(found or name, environ)
        if found and os.path.exists(found):
            files.append(found)
            lines.append(name + " " + _first_line(_ask([found, "--version"], environ) or ""))
    for name in RUNTIME_FILES:
        found = (_ask([path, *flags, "-print-file-name=" + name], environ) or "").strip()
        if os.path.isabs(found) and os.path.isfile(found):
            files.append(found)
            lines.append(name + " " + digest_file(found))
    return Linker("\n".join(lines), files)


def is_script(path: str) -> bool:
    """Whether a program hands over to another one."""
    with open(path, "rb") as file:
        return file.read(2) == b"#!"


def _linker_names(flags: list[str]) -> list[str]:
    names = ["ld"]
    for flag in flags:
        match = re.search(r"-fuse-ld=([^,]+)$", flag)
        if match:
            names.append(match[1] if "/" in match[1] else "ld." + match[1])
    return names


def _find(name: str, environ: dict[str, str]) -> str:
    from kachelib.toolchain import find_program

    return name if "/" in name else find_program(name, environ)


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
