"""Asking C compilers what they are, and where they look for headers. Cold: memos keep the answers.

Owns the questions. Everything is asked with LC_ALL=C, so that a banner is the same under every locale.
"""

from __future__ import annotations

import os
import subprocess
import time

from kachelib import memo, probe, toolchain
from kachelib.cc_toolchain import CLANG, GCC, Compiler
from kachelib.store import digest_file

TIMEOUT = 30

# The programs that a driver starts for a compile, as -print-prog-name knows them.
PROGRAMS = ("cc1", "cc1plus", "as")

TOOLCHAINS = ("/usr/lib/gcc", "/usr/lib/gcc-cross", "/usr/lib64/gcc", "/usr/lib32/gcc", "/usr/include/c++")

FAMILY = b"__clang__ __GNUC__\n"


def compiler(program: str, environ: dict[str, str], memo_path: str, content: bool) -> Compiler | None:
    """Ask ``program`` what it is, and keep the answer at ``memo_path``. None where it is no compiler that is known, or
    where it or what it starts is a script, which may hand over to any."""
    if not toolchain.says_what_it_is(program):
        return None
    before = time.time_ns()
    asked = Questions(program, environ)
    family = asked.family()
    banner = asked.answer(["--version"])
    if not family or banner is None:
        return None
    lines = [
        # Clang goes by the name it is called by: clang++, aarch64-linux-gnu-clang.
        "driver " + os.path.basename(program),
        "banner " + banner.strip(),
        "target " + (asked.answer(["-dumpmachine"]) or "").strip(),
        # How it was configured, and for Clang whose headers it takes.
        *asked.configuration(),
    ]
    files = [program]
    directories = probe.search_directories(asked.answer)
    settings, absent = probe.settings_files(asked.answer, banner, directories)
    for name in PROGRAMS:
        said = (asked.answer(["-print-prog-name=" + name]) or "").strip()
        found, passed = probe.look_for(name, said, directories["programs"], environ)
        absent += passed
        if found and os.path.isfile(found):
            if not toolchain.says_what_it_is(found):
                return None
            files.append(found)
            if name == "as":
                lines.append("as " + (Questions(found, environ).answer(["--version"]) or "").strip().split("\n")[0])
    for path in settings:
        files.append(path)
        lines.append("file " + digest_file(path))
    if family == CLANG:
        # Where a configuration file may appear, under a name for each target.
        files += probe.configuration_directories(program, banner)
        # Where another toolchain of GCC may appear, of which Clang takes the newest.
        present, gone = toolchains()
        files += present
        absent += gone
    if content:
        lines += ["content " + digest_file(path) for path in files if os.path.isfile(path)]
    maps = asked.knows("-ffile-prefix-map=/a=/b")
    text = "\n".join(lines)
    states = [os.stat(path) for path in files]
    if not memo.is_racy(states, before):
        words = [word for path, state in zip(files, states) for word in (path, memo.identity(state).decode())]
        words += [word for path in absent for word in (path, toolchain.ABSENT)]
        body = "\0".join(words) + "\0\0" + "\0".join((family, "maps" if maps else "", text))
        memo.write(memo_path, body.encode("utf-8", "surrogateescape"))
    return Compiler(program, family, text, maps, asked.count)


def toolchains() -> tuple[list[str], list[str]]:
    """The directories of the system's GCCs down to versions, and those of their parents that are not there."""
    present, absent = [], []
    for top in TOOLCHAINS:
        if not os.path.isdir(top):
            absent.append(top)
            continue
        targets = [each.path for each in os.scandir(top) if each.is_dir()]
        versions = [each.path for target in targets for each in os.scandir(target) if each.is_dir()]
        present += [top, *sorted(targets), *sorted(versions)]
    return present, absent


class Questions:
    """A program that is asked, and how often it was."""

    def __init__(self, program: str, environ: dict[str, str]) -> None:
        self.program = program
        # clang-cl understands the questions in its other mode
        self.first = ["--driver-mode=gcc"] if os.path.basename(program).rstrip("-.0123456789") == "clang-cl" else []
        self.environ = {**environ, "LC_ALL": "C"}
        self.count = 0

    def run(self, arguments: list[str], text: bytes = b"", cwd: str | None = None) -> tuple[bytes, bytes] | None:
        """What it prints on standard output and error; None when it fails."""
        self.count += 1
        try:
            done = subprocess.run(
                [self.program, *arguments],
                env=self.environ,
                input=text,
                capture_output=True,
                timeout=TIMEOUT,
                check=False,
                cwd=cwd,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return (done.stdout, done.stderr) if done.returncode == 0 else None

    def answer(self, arguments: list[str]) -> str | None:
        """What it prints on standard output, as text; None when it fails."""
        found = self.run([*self.first, *arguments])
        return None if found is None else os.fsdecode(found[0])

    def configuration(self) -> list[str]:
        """The lines of -v that tell one build of a version from the next."""
        found = self.run([*self.first, "-v"])
        lines = os.fsdecode(found[1]).split("\n") if found is not None else []
        return [line for line in lines if line.startswith(("Configured with: ", "Selected ", "Configuration file: "))]

    def family(self) -> str:
        """GCC or CLANG; "" for anything else. A line is preprocessed, for names and banners may say what they like."""
        found = self.run([*self.first, "-E", "-P", "-x", "c", "-"], FAMILY)
        if found is None:
            return ""
        words = found[0].split()
        if words == FAMILY.split():
            return ""
        return CLANG if words[:1] != [b"__clang__"] else GCC

    def knows(self, option: str) -> bool:
        """Whether it takes an option."""
        return self.run([*self.first, option, "-E", "-x", "c", "-"]) is not None
