"""What compilers and linkers are asked, and under which circumstances."""

import os
import subprocess
from pathlib import Path
from typing import Callable, Dict, List

import pytest

from kachelib import probe
from kachelib.store import digest_file
from tests.actions import VERSION

Write = Callable[[str, str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write(name, text)``: an executable shell script; returns its path."""

    def make(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        return str(path)

    return make


def environ() -> Dict[str, str]:
    return dict(os.environ)


# Compilers


def test_a_compiler_is_asked_in_the_c_locale_with_nothing_to_read(write: Write, tmp_path: Path) -> None:
    rustc = write("rustc", f'echo "$*:$LC_ALL:$X:$(cat)" >> {tmp_path}/asked; echo warning >&2; echo answer\n')
    found = probe.compiler(rustc, rustc, {**environ(), "LC_ALL": "de_DE.UTF-8", "X": "passed on"})
    assert found is not None
    assert found.version.startswith("answer\n") and "warning" not in found.version
    assert (found.sysroot, found.driver, found.runs) == ("answer", "", 2)
    assert (tmp_path / "asked").read_text().splitlines() == ["-vV:C:passed on:", "--print sysroot:C:passed on:"]


def test_a_driver_is_asked_for_its_own_version(write: Write) -> None:
    rustc = write("rustc", "echo compiler\n")
    driver = write("clippy-driver", 'echo "driver $*"\n')
    found = probe.compiler(driver, rustc, environ())
    assert found is not None
    assert found.driver == "driver --version\n" and found.version.startswith("compiler\n") and found.runs == 3


@pytest.mark.parametrize(
    "text", ["exit 1", "case $1 in -vV) echo v;; *) exit 1;; esac", "case $1 in -vV) exit 1;; *) echo /s;; esac", ":"]
)
def test_half_an_answer_is_none(text: str, write: Write) -> None:
    rustc = write("rustc", text + "\n")
    assert probe.compiler(rustc, rustc, environ()) is None


def test_what_cannot_be_started_or_does_not_end_is_none(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe.compiler("/nowhere/rustc", "/nowhere/rustc", environ()) is None
    monkeypatch.setattr(probe, "TIMEOUT", 0.2)
    rustc = write("rustc", "exec sleep 60\n")
    assert probe.compiler(rustc, rustc, environ()) is None


def test_an_answer_that_is_not_utf_8_is_kept_as_it_is(write: Write) -> None:
    rustc = write("rustc", "printf '/opt/\\377'\n")
    found = probe.compiler(rustc, rustc, environ())
    assert found is not None and os.fsencode(found.sysroot) == b"/opt/\xff"


@pytest.mark.parametrize(
    ("version", "unnamed"),
    [
        (VERSION, False),
        (VERSION.replace("1.95.0", "1.95.0-nightly"), False),
        (VERSION.replace("1.95.0", "1.95.0-beta.3"), False),
        (VERSION.replace("1.95.0", "1.95.0-dev"), True),
        ("rustc 1.63.0\ncommit-hash: unknown\n", True),
    ],
)
def test_a_compiler_names_its_sources_or_does_not(version: str, unnamed: bool) -> None:
    assert probe.is_unnamed(version) == unnamed


def test_the_library_of_an_unnamed_compiler_is_part_of_its_version(write: Write, tmp_path: Path) -> None:
    rustc = write("a*[b]/bin/rustc", f"case $1 in -vV) echo commit-hash: unknown;; *) echo '{tmp_path}/a*[b]';; esac\n")
    seen = set()
    for name, text in (
        ("", ""),
        ("librustc_driver-1.so", "1"),
        ("librustc_driver-1.so", "12"),
        ("librustc_driver-2.so", "1"),
    ):
        if name:
            (tmp_path / "a*[b]/lib").mkdir(exist_ok=True)
            (tmp_path / "a*[b]/lib" / name).write_text(text)
        found = probe.compiler(rustc, rustc, environ())
        assert found is not None
        seen.add(found.version)
    assert len(seen) == 4


# Linkers

CC = """for last; do :; done
case $last in
--version) echo 'cc 12'; echo 'Copyright';;
-dumpmachine) echo x86_64-linux-gnu;;
-print-prog-name=*) case ${{last##*=}} in /*) echo ${{last##*=}};; *) echo {base}/${{last##*=}};; esac;;
-print-file-name=*) case $1 in --sysroot=*) echo "${{1#*=}}/${{last##*=}}";; *) echo {base}/lib/${{last##*=}};; esac;;
esac
"""


def test_a_linkers_settings_are_part_of_it(write: Write, tmp_path: Path) -> None:
    """GCC's specs, and the configuration that Clang says it has read; and where another one may appear."""
    base = f"{tmp_path}/gcc"
    text = f"""case $1 in
--version) echo 'clang version 99'; [ -f {base}/x.cfg ] && echo 'Configuration file: {base}/x.cfg'; true;;
-print-search-dirs) echo 'install: {base}/'; echo 'libraries: ={base}/a/:{base}/b/';;
-print-file-name=specs) [ -f {base}/b/specs ] && echo {base}/b/specs || echo specs;;
esac
"""
    cc = write("cc", text)
    (tmp_path / "gcc/b").mkdir(parents=True)
    found = probe.linker(cc, [], environ())
    assert found is not None and not any("settings" in line for line in found.text.split("\n"))
    assert {f"{base}/specs", f"{base}/a/specs", f"{base}/b/specs"} <= set(found.absent)
    assert str(tmp_path) in found.files, "Clang's configuration may appear beside it"
    seen = {found.text}
    for name in ("b/specs", "x.cfg"):
        for content in ("1", "2"):
            (tmp_path / "gcc" / name).write_text(content)
            found = probe.linker(cc, [], environ())
            assert found is not None and f"{base}/{name}" in found.files
            seen.add(found.text)
    assert len(seen) == 5


def lines_of(path: str, *flags: str) -> List[str]:
    found = probe.linker(path, list(flags), environ())
    assert found is not None
    return found.text.split("\n")


def test_a_linker_is_its_banners_and_what_it_links_into_everything(write: Write, tmp_path: Path) -> None:
    cc = write("cc", CC.format(base=tmp_path))
    ld = write("ld", "echo GNU ld 2.40\n")
    (tmp_path / "lib").mkdir()
    for name in ("crt1.o", "libc.so.6"):
        (tmp_path / "lib" / name).write_text(name)
    found = probe.linker(cc, [], environ())
    assert found is not None
    assert found.text.split("\n") == [
        "driver cc 12",
        "script " + digest_file(cc),
        "machine x86_64-linux-gnu",
        "ld GNU ld 2.40",
        "script " + digest_file(ld),
        "crt1.o " + digest_file(str(tmp_path / "lib/crt1.o")),
        "libc.so.6 " + digest_file(str(tmp_path / "lib/libc.so.6")),
    ]
    assert found.files == [cc, ld, str(tmp_path / "lib/crt1.o"), str(tmp_path / "lib/libc.so.6")]


@pytest.mark.parametrize("name", ["crt1.o", "crtbeginS.o", "libgcc.a", "libc.so.6"])
def test_a_runtime_file_counts_by_content(name: str, write: Write, tmp_path: Path) -> None:
    cc = write("cc", CC.format(base=tmp_path))
    (tmp_path / "lib").mkdir()
    seen = {tuple(lines_of(cc))}
    for text in ("one", "two"):
        (tmp_path / "lib" / name).write_text(text)
        seen.add(tuple(lines_of(cc)))
    assert len(seen) == 3


def test_flags_lead_to_other_linkers_and_files(write: Write, tmp_path: Path) -> None:
    cc = write("cc", CC.format(base=tmp_path))
    write("ld", "echo ld\n")
    write("ld.mold", "echo mold 2.4\n")
    assert "ld.mold mold 2.4" in lines_of(cc, "-fuse-ld=mold")
    own = write("own/linker", "echo own 1\n")
    assert f"{own} own 1" in lines_of(cc, f"-fuse-ld={own}")
    (tmp_path / "sysroot").mkdir()
    (tmp_path / "sysroot/crt1.o").write_text("another")
    plain, other = lines_of(cc), lines_of(cc, f"--sysroot={tmp_path}/sysroot")
    assert [line for line in other if line.startswith("crt1.o")] and not [
        line for line in plain if line.startswith("crt1.o")
    ]


def test_a_real_driver_is_asked_with_its_flags(
    write: Write, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    """-B is how mold wants to be found."""
    write("libexec/ld", "echo mold 2.4 here\n")
    found = lines_of(require_tool("gcc"), f"-B{tmp_path}/libexec")
    assert "ld mold 2.4 here" in found
    assert [line for line in found if line.startswith("crt1.o ")]


def test_a_linker_that_is_asked_without_a_driver(write: Write) -> None:
    """rust-lld and the like know nothing of programs and files."""
    lld = write("ld.lld", "case $1 in --version) echo LLD 17;; *) echo unknown >&2; exit 1;; esac\n")
    assert lines_of(lld)[0] == "driver LLD 17"
    old = write("old", "case $1 in -v) echo old 1 >&2;; *) exit 1;; esac\n")
    assert lines_of(old)[0] == "driver old 1"
    assert probe.linker(write("none", "exit 1\n"), [], environ()) is None


def test_the_banner_is_the_same_in_every_locale(write: Write, require_tool: Callable[[str], str]) -> None:
    gcc = require_tool("gcc")
    seen = set()
    for locale in ("C", "de_DE.UTF-8", "tr_TR.UTF-8"):
        found = probe.linker(gcc, [], {**environ(), "LC_ALL": locale, "LANG": locale, "LANGUAGE": locale[:2]})
        assert found is not None
        seen.add(found.text)
    assert len(seen) == 1


def test_a_script_is_told_from_a_program(write: Write, require_tool: Callable[[str], str]) -> None:
    assert probe.is_script(write("x", ""))
    assert not probe.is_script(os.path.realpath(require_tool("sh")))
    done = subprocess.run([write("y", "echo\n")], check=True, capture_output=True)
    assert done.returncode == 0
