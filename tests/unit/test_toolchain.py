"""Which compiler and which linker: found as the shell finds them, asked once, asked again when they may be others."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Callable, Dict, List, Mapping

import pytest

from kachelib import toolchain
from kachelib.toolchain import Toolchain
from tests.actions import VERSION, grow_old

# A program that is no script: it prints what the file beside it says for its first argument, and counts.
SOURCE = r"""
#include <stdio.h>
#include <string.h>
int main(int argc, char **argv) {
    char name[4096];
    snprintf(name, sizeof name, "%s.calls", argv[0]);
    FILE *out = fopen(name, "a");
    if (out) { fputs("x", out); fclose(out); }
    snprintf(name, sizeof name, "%s%s", argv[0], argc > 1 ? argv[1] : "");
    FILE *in = fopen(name, "r");
    if (!in) return 1;
    for (int c; (c = getc(in)) != EOF;) putchar(c);
    return 0;
}
"""


@pytest.fixture(scope="session")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("speaker")
    (base / "speaker.c").write_text(SOURCE)
    subprocess.run(["cc", "-O0", "-o", str(base / "speaker"), str(base / "speaker.c")], check=True)
    return base / "speaker"


class Program:
    """A program at ``path`` that says what it is told to."""

    def __init__(self, speaker: Path, path: Path, answers: Mapping[str, str]) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(speaker, path)
        for argument, text in answers.items():
            self.says(argument, text)

    def says(self, argument: str, text: str) -> None:
        Path(f"{self.path}{argument}").write_text(text)

    def calls(self) -> int:
        path = Path(f"{self.path}.calls")
        return path.stat().st_size if path.exists() else 0


@pytest.fixture
def program(speaker: Path, tmp_path: Path) -> Callable[..., Program]:
    return lambda name, **answers: Program(
        speaker, tmp_path / name, {key.replace("__", "--").replace("_1", "-"): text for key, text in answers.items()}
    )


def rustc_at(program: Callable[..., Program], name: str = "bin/rustc", version: str = VERSION) -> Program:
    found = program(name)
    found.says("-vV", version)
    found.says("--print", "/opt/toolchain\n")
    return found


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


@pytest.fixture
def memo_dir(tmp_path: Path) -> str:
    return str(tmp_path / "memo")


# Finding programs


def test_a_program_is_found_as_the_shell_finds_it(tmp_path: Path) -> None:
    """The first regular file that may be run; a directory of that name is passed over."""
    (tmp_path / "a/rustc").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/rustc").write_text("not executable")
    script(tmp_path / "c/rustc", "")
    script(tmp_path / "d/rustc", "")
    (tmp_path / "e").mkdir()
    os.symlink("nowhere", tmp_path / "e/rustc")
    path = ":".join(str(tmp_path / name) for name in "eabcd")
    assert toolchain.find_program("rustc", {"PATH": path}) == str(tmp_path / "c/rustc")
    assert shutil.which("rustc", path=path) == str(tmp_path / "c/rustc")
    assert toolchain.find_program("none", {"PATH": path}) == ""
    assert toolchain.find_program("sh", {}) in ("/usr/bin/sh", "/bin/sh")


def test_an_empty_part_of_path_is_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "mine", "")
    monkeypatch.chdir(tmp_path)
    for path in (":/bin", "/bin:", "/bin::/usr/bin"):
        assert toolchain.find_program("mine", {"PATH": path}) == "./mine"


@pytest.mark.parametrize("how", ["symlink", "hard link", "copy"])
@pytest.mark.parametrize("name", ["rustc", "clippy-driver"])
def test_past_rustups_proxy_where_the_toolchain_is_known(how: str, name: str, tmp_path: Path) -> None:
    rustup = script(tmp_path / "bin/rustup", "# the proxy\n")
    proxy = tmp_path / "bin" / name
    if how == "symlink":
        proxy.symlink_to("rustup")
    elif how == "hard link":
        os.link(rustup, proxy)
    else:
        shutil.copy(rustup, proxy)
    real = script(tmp_path / "rustup/toolchains/stable-x/bin" / name, "")
    environ = {"PATH": str(tmp_path / "bin"), "RUSTUP_TOOLCHAIN": "stable-x", "RUSTUP_HOME": str(tmp_path / "rustup")}
    assert toolchain.resolve(name, environ) == str(real)
    assert toolchain.resolve(str(proxy), environ) == str(real)
    assert toolchain.resolve(name, {**environ, "RUSTUP_TOOLCHAIN": str(real.parent.parent)}) == str(real)
    assert toolchain.resolve(name, {**environ, "RUSTUP_TOOLCHAIN": "gone"}) == str(proxy)
    assert toolchain.resolve(name, {"PATH": environ["PATH"]}) == str(proxy)
    home = {"PATH": environ["PATH"], "RUSTUP_TOOLCHAIN": "stable-x", "HOME": str(tmp_path)}
    os.rename(tmp_path / "rustup", tmp_path / ".rustup")
    assert toolchain.resolve(name, home) == str(tmp_path / ".rustup/toolchains/stable-x/bin" / name)


def test_a_compiler_that_is_no_proxy_stays_what_it_is(tmp_path: Path) -> None:
    """Also with RUSTUP_TOOLCHAIN left over, and rustup installed beside it."""
    own = script(tmp_path / "bin/rustc", "echo my own compiler\n")
    script(tmp_path / "bin/rustup", "")
    script(tmp_path / "rustup/toolchains/stable-x/bin/rustc", "")
    environ = {"PATH": str(tmp_path / "bin"), "RUSTUP_TOOLCHAIN": "stable-x", "RUSTUP_HOME": str(tmp_path / "rustup")}
    assert toolchain.resolve("rustc", environ) == str(own)
    assert toolchain.resolve("none", environ) == ""


# Compilers


def identify(environ: Mapping[str, str], memo_dir: str, *command: str) -> Toolchain:
    found = toolchain.identify(list(command), dict(environ), memo_dir)
    assert found is not None
    return found


def test_a_compiler_is_asked_once(program: Callable[..., Program], memo_dir: str) -> None:
    rustc = rustc_at(program)
    first = identify({}, memo_dir, str(rustc.path))
    assert (first.program, first.version, first.sysroot) == (str(rustc.path), VERSION, "/opt/toolchain")
    assert (first.driver, first.probes) == ("", 2)
    again = identify({}, memo_dir, str(rustc.path))
    assert again.probes == 0 and rustc.calls() == 2
    for name in ("program", "version", "sysroot", "driver"):
        assert getattr(again, name) == getattr(first, name)


@pytest.mark.parametrize("how", ["touched", "replaced", "another place"])
def test_a_compiler_that_may_be_another_is_asked_again(
    how: str, program: Callable[..., Program], memo_dir: str, tmp_path: Path
) -> None:
    rustc = rustc_at(program)
    identify({}, memo_dir, str(rustc.path))
    path = rustc.path
    if how == "touched":
        os.utime(path)
    elif how == "replaced":
        other = shutil.copy(path, tmp_path / "other")
        before = path.stat()
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        os.rename(other, path)
    else:
        rustc = rustc_at(program, "elsewhere/rustc")
        path = rustc.path
    rustc.says("-vV", VERSION + "newer\n")
    assert identify({}, memo_dir, str(path)).version == VERSION + "newer\n"


def test_a_compiler_that_is_a_script_is_asked_each_time(tmp_path: Path, memo_dir: str) -> None:
    """It may hand over to another one tomorrow."""
    said = tmp_path / "said"
    said.write_text(VERSION)
    path = script(tmp_path / "rustc", f"case $1 in -vV) cat {said};; *) echo /opt/x;; esac\n")
    first = identify({}, memo_dir, str(path))
    assert first.probes == 2
    said.write_text(VERSION + "newer\n")
    again = identify({}, memo_dir, str(path))
    assert again.probes == 2 and again.version != first.version
    # what it adds to the compiler's arguments is in no version
    path.write_text(path.read_text() + "# --cfg other\n")
    assert identify({}, memo_dir, str(path)).version != again.version


def test_rustups_proxy_is_asked_each_time(program: Callable[..., Program], memo_dir: str) -> None:
    rustc = rustc_at(program)
    os.link(rustc.path, rustc.path.parent / "rustup")
    identify({}, memo_dir, str(rustc.path))
    rustc.says("-vV", VERSION + "of another toolchain\n")
    assert identify({}, memo_dir, str(rustc.path)).version == VERSION + "of another toolchain\n"


@pytest.mark.parametrize(
    "version",
    [VERSION.replace("1.95.0", "1.97.0-dev"), VERSION.replace("59807616e1fa2540724bfbac14d7976d7e4a3860", "unknown")],
)
def test_a_compiler_of_ones_own_is_known_by_its_library(
    version: str, program: Callable[..., Program], memo_dir: str, tmp_path: Path
) -> None:
    """Two builds of one tree say the same of themselves."""
    rustc = rustc_at(program, version=version)
    rustc.says("--print", f"{tmp_path}/sysroot\n")
    library = tmp_path / "sysroot/lib/librustc_driver-1.so"
    library.parent.mkdir(parents=True)
    library.write_text("one")
    first = identify({}, memo_dir, str(rustc.path))
    assert identify({}, memo_dir, str(rustc.path)).version == first.version
    grow_old()
    library.write_text("two")
    assert identify({}, memo_dir, str(rustc.path)).version != first.version


def test_clippy_is_both(program: Callable[..., Program], memo_dir: str) -> None:
    rustc = rustc_at(program)
    clippy = program("bin/clippy-driver")
    clippy.says("--version", "clippy 0.1.95\n")
    command = (str(clippy.path), str(rustc.path))
    first = identify({}, memo_dir, *command)
    assert (first.program, first.driver, first.version) == (str(clippy.path), "clippy 0.1.95\n", VERSION)
    assert first.probes == 3 and identify({}, memo_dir, *command).probes == 0
    assert identify({}, memo_dir, str(rustc.path)).driver == "", "the compiler alone is not clippy"
    os.utime(rustc.path)
    rustc.says("-vV", VERSION + "newer\n")
    assert identify({}, memo_dir, *command).version == VERSION + "newer\n"
    os.utime(clippy.path)
    clippy.says("--version", "clippy 0.1.96\n")
    assert identify({}, memo_dir, *command).driver == "clippy 0.1.96\n"


def test_a_compiler_that_does_not_answer_is_none(
    program: Callable[..., Program], memo_dir: str, tmp_path: Path
) -> None:
    silent = program("bin/rustc")
    for command in ([str(silent.path)], ["/nowhere/rustc"], ["rustc"], [str(silent.path), "/nowhere/rustc"]):
        assert toolchain.identify(command, {"PATH": "/nowhere"}, memo_dir) is None
    assert not Path(memo_dir).exists(), "no answer is not remembered"


def test_a_damaged_memo_is_none(program: Callable[..., Program], memo_dir: str) -> None:
    rustc = rustc_at(program)
    identify({}, memo_dir, str(rustc.path))
    for path in Path(memo_dir).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert identify({}, memo_dir, str(rustc.path)).version == VERSION


def test_a_version_is_read_by_line() -> None:
    tools = Toolchain("/r", VERSION, "/opt/toolchain", "", 0)
    assert tools.field("host") == "x86_64-unknown-linux-gnu"
    assert tools.field("commit") == "" and tools.field("none") == ""
    commit = tools.field("commit-hash")
    assert tools.standard_library_flag() == f"--remap-path-prefix=/opt/toolchain/lib/rustlib/src/rust=/rustc/{commit}"
    tarball = Toolchain("/r", "rustc 1.63\ncommit-hash: unknown\nrelease: 1.63.0\n", "/usr", "", 0)
    assert tarball.standard_library_flag().endswith("=/rustc/1.63.0")


# Linkers


@pytest.fixture
def linker(program: Callable[..., Program], tmp_path: Path) -> Program:
    """A driver that starts ``ld`` and links ``crt1.o`` into everything."""
    driver = program("bin/cc")
    driver.says("--version", "cc 1\nmore\n")
    driver.says("-dumpmachine", "x86_64-linux-gnu\n")
    driver.says("-print-prog-name=ld", f"{tmp_path}/bin/ld\n")
    program("bin/ld").says("--version", "ld 1\n")
    driver.says("-print-file-name=crt1.o", f"{tmp_path}/lib/crt1.o\n")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/crt1.o").write_text("start")
    driver.says("-print-file-name=libc.so.6", "libc.so.6\n")
    grow_old()
    return driver


def identity(memo_dir: str, name: str, *flags: str, **environ: str) -> str:
    found = toolchain.linker(name, list(flags), environ, memo_dir)
    assert found is not None
    return found


def test_a_linker_is_asked_once(linker: Program, memo_dir: str, tmp_path: Path) -> None:
    text = identity(memo_dir, "cc", PATH=str(tmp_path / "bin"))
    assert text.split("\n")[:3] == ["driver cc 1", "machine x86_64-linux-gnu", "ld ld 1"]
    assert text.split("\n")[3].startswith("crt1.o ") and len(text.split("\n")) == 4
    asked = linker.calls()
    assert identity(memo_dir, "cc", PATH=str(tmp_path / "bin")) == text
    assert linker.calls() == asked


def test_everything_that_was_asked_keeps_the_answer(linker: Program, memo_dir: str, tmp_path: Path) -> None:
    """The driver, the linker behind it, what is linked into everything: by content or by what they say."""
    seen = {identity(memo_dir, str(linker.path))}
    linker.says("--version", "cc 2\n")
    assert identity(memo_dir, str(linker.path)) in seen, "its own file says when to ask again"
    os.utime(linker.path)
    seen.add(identity(memo_dir, str(linker.path)))
    (tmp_path / "bin/ld--version").write_text("ld 2\n")
    os.utime(tmp_path / "bin/ld")
    seen.add(identity(memo_dir, str(linker.path)))
    (tmp_path / "lib/crt1.o").write_text("other")
    seen.add(identity(memo_dir, str(linker.path)))
    (tmp_path / "lib/crt1.o").unlink()
    seen.add(identity(memo_dir, str(linker.path)))
    assert len(seen) == 5


def test_the_same_linker_elsewhere_is_the_same(program: Callable[..., Program], linker: Program, memo_dir: str) -> None:
    other = program("elsewhere/bin/cc")
    for argument in ("--version", "-dumpmachine", "-print-prog-name=ld", "-print-file-name=crt1.o"):
        other.says(argument, Path(f"{linker.path}{argument}").read_text())
    assert identity(memo_dir, str(other.path)) == identity(memo_dir, str(linker.path))


def test_what_surrounds_a_linker_is_another_question(linker: Program, memo_dir: str, tmp_path: Path) -> None:
    """Other flags or variables may lead to other files: their answers are not each other's."""
    path = str(tmp_path / "bin")
    identity(memo_dir, "cc", PATH=path)
    questions: List[Dict[str, str]] = [{"LIBRARY_PATH": "/x"}, {"COMPILER_PATH": "/x"}, {"NIX_LDFLAGS": "-L/x"}]
    for more in questions:
        asked = linker.calls()
        identity(memo_dir, "cc", PATH=path, **more)
        assert linker.calls() > asked
    asked = linker.calls()
    identity(memo_dir, "cc", PATH=path + ":/elsewhere")
    assert linker.calls() > asked
    asked = linker.calls()
    toolchain.linker("cc", ["-fuse-ld=x"], {"PATH": path}, memo_dir)
    assert linker.calls() > asked


def test_a_linker_that_is_a_script_is_asked_each_time(tmp_path: Path, memo_dir: str) -> None:
    real = script(tmp_path / "real", "echo real 1\n")
    path = script(tmp_path / "wrapper", f'exec {real} "$@"\n')
    grow_old()
    first = identity(memo_dir, str(path))
    script(real, "echo real 2\n")
    assert identity(memo_dir, str(path)) != first


def test_a_linker_behind_the_driver_that_is_a_script_is_asked_each_time(
    linker: Program, memo_dir: str, tmp_path: Path
) -> None:
    real = script(tmp_path / "real", "echo real 1\n")
    behind = script(tmp_path / "bin/behind", f'exec {real} "$@"\n')
    linker.says("-print-prog-name=ld", f"{behind}\n")
    grow_old()
    first = identity(memo_dir, str(linker.path))
    script(real, "echo real 2\n")
    assert identity(memo_dir, str(linker.path)) != first


def test_a_linker_that_changes_while_it_is_asked_is_not_remembered(
    linker: Program, memo_dir: str, tmp_path: Path
) -> None:
    """The first answer is of the old one, the file's state of the new one."""
    changing = script(tmp_path / "bin/ld2", f"echo ld 2.1; touch {linker.path}; echo cc 2 > '{linker.path}--version'\n")
    linker.says("-print-prog-name=ld", f"{changing}\n")
    grow_old()
    first = identity(memo_dir, str(linker.path))
    assert first.startswith("driver cc 1\n")
    assert identity(memo_dir, str(linker.path)).startswith("driver cc 2\n")


def test_no_linker_is_none(tmp_path: Path, memo_dir: str, program: Callable[..., Program]) -> None:
    assert toolchain.linker("cc", [], {"PATH": "/nowhere"}, memo_dir) is None
    assert toolchain.linker("/nowhere/cc", [], {}, memo_dir) is None
    silent = program("bin/cc")
    assert toolchain.linker(str(silent.path), [], {}, memo_dir) is None
    assert not Path(memo_dir).exists()


def test_a_linker_that_appears_first_on_the_path_is_noticed(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    """cc is asked by its path, and takes its linker from PATH."""
    gcc = require_tool("gcc")
    tools = tmp_path / "tools"
    tools.mkdir()
    environ = {"PATH": f"{tools}:/usr/bin:/bin"}
    memo_dir = str(tmp_path / "memo")
    # what changed just now is not remembered
    before = toolchain.linker(gcc, [], environ, memo_dir)
    assert before and toolchain.linker(gcc, [], environ, memo_dir) == before
    assert any(path.is_file() for path in (tmp_path / "memo").rglob("*")), "nothing is remembered"
    (tools / "ld").write_text("#!/bin/sh\necho another ld 9\n")
    (tools / "ld").chmod(0o755)
    after = toolchain.linker(gcc, [], environ, memo_dir)
    assert after and "another ld 9" in after
