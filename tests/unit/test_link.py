"""What a linker read, and what its output needs to run."""

import os
import struct
import subprocess
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kachelib import link
from kachelib.action import Action
from kachelib.collect import NotStored
from kachelib.compile import Finished
from kachelib.entry import ABSENT, FILE, Candidate
from kachelib.store import digest_file
from tests.actions import SYSROOT, Place

# A command as Rust's Debug prints it: quoted words, \" and \\ and \n escaped.
words = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=10) | st.just("two\nlines")


def printed(found: List[str]) -> str:
    def quote(word: str) -> str:
        escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
        return '"' + escaped + '"'

    return " ".join(quote(word) for word in found)


@given(st.lists(words, min_size=1, max_size=6), st.booleans())
def test_a_printed_command_is_read(found: List[str], settings: bool) -> None:
    line = printed(["cc", *found])
    if settings:
        line = 'LC_ALL="C" PATH="/a b:/c" VSLANG="1033" ' + line
    assert link.split_command(line + "\n") == ["cc", *found]


def test_variables_that_are_taken_away_stand_before_the_command() -> None:
    line = 'env -u IPHONEOS_DEPLOYMENT_TARGET -u TVOS_DEPLOYMENT_TARGET LC_ALL="C" "cc" "-m64" "a=b"'
    assert link.split_command(line) == ["cc", "-m64", "a=b"]


@given(st.text(max_size=80))
def test_no_line_is_too_odd(line: str) -> None:
    link.split_command(line)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def action_of(place: Place, *more: str) -> Action:
    return place.action("-C", "linker=cc", *more, kind="bin")


CALL = '"cc" "-m64" "/o/x.o" "-o" "/o/x"'


@pytest.mark.parametrize(
    "line, expected",
    [
        (CALL, True),
        ('LC_ALL="C" PATH="/usr/bin" VSLANG="1033" ' + CALL, True),
        ('env -u A LC_ALL="C" ' + CALL, True),
        (CALL.replace('"cc"', f'"{SYSROOT}/lib/rustlib/x/bin/gcc-ld/ld"'), True),
        (CALL.replace('"cc"', '"/any/where/rust-lld"'), True),
        (CALL.replace('"cc"', '"gcc"'), False),
        ('"a" "b"', False),
        ('"cc" "b"', False),
        ("cc -m64 /o/x.o -o /o/x", False),
        ("", False),
        ("LC_ALL=C", False),
        ('said: "cc" "-m64" "a" "b" "c" "d"', False),
    ],
)
def test_a_macros_words_are_not_the_linkers_call(place: Place, line: str, expected: bool) -> None:
    assert link.is_linker_call(line.encode() + b"\n", action_of(place)) is expected


def inputs_of(place: Place, command: List[str], *more: str) -> Dict[str, Tuple[str, str]]:
    """path -> (kind, digest) of what a link of this command read."""
    action = action_of(place, *more)
    finished = Finished(2**62)
    finished.link_arguments = [printed(["cc", *command]).encode() + b"\n"]
    candidate = Candidate()
    link.add_inputs(action, finished, candidate, place.store)
    return {item.path: (item.kind, item.digest) for item in candidate.inputs}


def library(directory: Path, name: str, content: bytes = b"!<arch>\n") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_bytes(content)
    return path


def test_files_that_were_linked_are_inputs(place: Place) -> None:
    """Dependencies of dependencies are named by no --extern."""
    first = library(place.out, "libdep-2.rlib")
    second = library(place.directory / "lib", "crt.o", b"object")
    found = inputs_of(place, ["-m64", str(first), "lib/crt.o", "-o", str(place.out / "x-1")])
    assert found == {
        "<target>/debug/deps/libdep-2.rlib": (FILE, digest_file(str(first))),
        "<workspace>/lib/crt.o": (FILE, digest_file(str(second))),
    }


def test_rustcs_own_temporaries_and_the_toolchain_are_none(place: Place) -> None:
    own = library(place.out, "x-1.x.0123456789abcdef-cgu.0.rcgu.o")
    temporary = place.out / "rustcAbCdEf" / "symbols.o"
    found = inputs_of(place, [str(own), str(temporary), f"{SYSROOT}/lib/rustlib/x/lib/libstd-1.rlib", "-o", "x"])
    assert found == {}


def test_a_directory_of_ones_own_that_is_called_like_rustcs(place: Place) -> None:
    """rustc's is gone once it has linked."""
    mine = library(place.out / "rustcAbCdEf", "symbols.o")
    assert len(inputs_of(place, [str(mine), "-o", "x"])) == 1


def test_a_macros_metadata_of_older_compilers_is_gone_and_no_input(place: Place) -> None:
    """rustc 1.63 and 1.85 write it beside the output and remove it: such proc macros were never stored."""
    gone = place.out / "x-1.e8zdsrgtmxotw9j8x50se66n2.rcgu.rmeta"
    assert inputs_of(place, [str(gone)]) == {}


def test_another_crates_objects_are_not_rustcs_temporaries(place: Place) -> None:
    other = library(place.out, "y-1.y.0123456789abcdef-cgu.0.rcgu.o")
    assert list(inputs_of(place, [str(other)])) == ["<target>/debug/deps/" + other.name]


def test_a_library_may_come_from_any_place_it_was_looked_for(place: Place) -> None:
    """Where it is not, it may appear: then another one would be taken."""
    first, second = place.directory / "first", place.directory / "second"
    first.mkdir()
    there = library(second, "libnumber.a")
    found = inputs_of(place, ["-L", str(first), f"-L{second}", "-lnumber"])
    assert found["<workspace>/second/libnumber.a"] == (FILE, digest_file(str(there)))
    for absent in ("first/libnumber.so", "first/libnumber.a", "second/libnumber.so"):
        assert found["<workspace>/" + absent] == (ABSENT, "")


def test_the_systems_libraries_go_with_the_linker(place: Place) -> None:
    assert inputs_of(place, ["-lc", "-lgcc_s", "-lpthread", "-lm", "-ldl"]) == {}


def test_a_library_of_ones_own_with_a_systems_name_is_an_input(place: Place) -> None:
    """The linker takes the first on its path, and -L comes before its own places."""
    own = library(place.directory / "libs", "libutil.a")
    found = inputs_of(place, [f"-L{place.directory}/libs", "-L/usr/lib/x86_64-linux-gnu", "-lutil", "-lrt"])
    assert found["<workspace>/libs/libutil.a"] == (FILE, digest_file(str(own)))
    assert found["<workspace>/libs/librt.a"] == (ABSENT, "")
    assert not any(path.startswith("/usr") for path in found)


def test_a_file_that_is_gone_is_not_stored(place: Place) -> None:
    with pytest.raises(NotStored, match="gone"):
        inputs_of(place, [str(place.out / "missing.o")])


def test_a_thin_archive_is_not_stored(place: Place) -> None:
    """Its members lie elsewhere."""
    path = library(place.directory, "libthin.a", b"!<thin>\nx")
    with pytest.raises(NotStored, match="thin"):
        inputs_of(place, [str(path)])


def test_a_file_that_changed_meanwhile_is_not_stored(place: Place) -> None:
    path = library(place.directory, "object.o")
    action = action_of(place)
    finished = Finished(path.stat().st_mtime_ns)
    finished.link_arguments = [printed(["cc", str(path)]).encode()]
    with pytest.raises(NotStored, match="changed"):
        link.add_inputs(action, finished, Candidate(), place.store)


def test_a_file_that_was_replaced_by_an_old_one_is_not_stored(place: Place) -> None:
    """Its own time says nothing (cp -p, tar); that of its inode does."""
    path = library(place.directory, "object.o")
    os.utime(path, (1e9, 1e9))
    action = action_of(place)
    finished = Finished(path.stat().st_ctime_ns)
    finished.link_arguments = [printed(["cc", str(path)]).encode()]
    with pytest.raises(NotStored, match="changed"):
        link.add_inputs(action, finished, Candidate(), place.store)


def test_a_link_that_nobody_saw_is_not_stored(place: Place) -> None:
    with pytest.raises(NotStored, match="not called"):
        link.add_inputs(action_of(place), Finished(0), Candidate(), place.store)


# ELF


def elf(interpreter: bytes = b"", runpath: bytes = b"", wide: bool = True, little: bool = True, tag: int = 29) -> bytes:
    """A small executable: header, program headers, an interpreter, a dynamic section and its strings."""
    order = "<" if little else ">"
    head, row = (64, 56) if wide else (52, 32)
    count = 1 + bool(interpreter) + bool(runpath)
    base = 0x1000
    at = head + count * row
    strings = b"\0pad\0" + runpath + b"\0"
    number = order + ("Q" if wide else "I")
    dynamic = b"".join(struct.pack(number, n) for n in (5, base + at, 1, 0, tag, 5, 0, 0)) if runpath else b""
    body = strings
    segments = [(1, 0, base, at + len(strings) + 500)]
    if interpreter:
        segments.append((3, at + len(body), base + at + len(body), len(interpreter) + 1))
        body += interpreter + b"\0"
    if runpath:
        segments.append((2, at + len(body), base + at + len(body), len(dynamic)))
        body += dynamic
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if little else 2, 1]) + bytes(9)
    if wide:
        header = ident + struct.pack(order + "HHIQQQIHHHHHH", 3, 62, 1, 0, head, 0, 0, head, row, count, 0, 0, 0)
        rows = [
            struct.pack(order + "IIQQQQQQ", kind, 4, off, addr, addr, size, size, 1)
            for kind, off, addr, size in segments
        ]
    else:
        header = ident + struct.pack(order + "HHIIIIIHHHHHH", 3, 3, 1, 0, head, 0, 0, head, row, count, 0, 0, 0)
        rows = [
            struct.pack(order + "IIIIIIII", kind, off, addr, addr, size, size, 4, 1)
            for kind, off, addr, size in segments
        ]
    return (header + b"".join(rows) + body).ljust(64, b"\0")


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize("tag", [15, 29])
def test_interpreter_and_nix_directories_are_needed(tmp_path: Path, wide: bool, little: bool, tag: int) -> None:
    path = tmp_path / "program"
    path.write_bytes(
        elf(b"/lib64/ld.so", b"/nix/store/a-glibc/lib:/usr/lib:$ORIGIN:/nix/store/b/lib", wide, little, tag)
    )
    assert link.needs([str(path)]) == ["/lib64/ld.so", "/nix/store/a-glibc/lib", "/nix/store/b/lib"]


def test_a_static_program_needs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(elf())
    assert link.needs([str(path)]) == []


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"#!/bin/sh\n", b"\xcf\xfa\xed\xfe" * 30, b"MZ" * 50])
def test_what_is_no_elf_file_needs_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "program"
    path.write_bytes(content)
    assert link.needs([str(path)]) == []


def test_two_programs_need_each_thing_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(elf(b"/lib/ld.so"))
    assert link.needs([str(tmp_path / "a"), str(tmp_path / "b")]) == ["/lib/ld.so"]


def test_a_real_program_needs_its_interpreter(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    source = tmp_path / "main.c"
    source.write_text("int main(void) { return 0; }\n")
    program = tmp_path / "main"
    runpath = "-Wl,-rpath,/nix/store/x/lib:/opt/lib"
    subprocess.run([require_tool("cc"), str(source), "-o", str(program), runpath], check=True)
    found = link.needs([str(program)])
    assert found[1:] == ["/nix/store/x/lib"]
    assert "ld" in Path(found[0]).name
    assert Path(found[0]).exists()


def test_what_rustc_prints_is_what_was_linked(tmp_path: Path, place: Place, rust: Mapping[str, str]) -> None:
    """The real thing: a program over a library, and the library is found among the inputs."""
    if not rust:
        pytest.skip("Rust is missing")
    compiler = f"{rust['sysroot']}/bin/rustc"
    place.write("src/dep.rs", "pub fn two() -> u32 { 2 }\n")
    place.write("src/main.rs", 'fn main() { println!("{}", dep::two()); }\n')
    rlib = place.out / "libdep.rlib"

    def run(*arguments: str) -> bytes:
        command = [compiler, *arguments, "--out-dir", str(place.out)]
        return subprocess.run(command, cwd=place.directory, check=True, capture_output=True).stdout

    run("--crate-name=dep", "--crate-type=lib", "src/dep.rs")
    more = ("--print=link-args", "--extern", f"dep={rlib}", "-C", "extra-filename=-1")
    told = run("--crate-name=x", "src/main.rs", *more)
    action = action_of(place)
    action.toolchain.sysroot = rust["sysroot"]
    lines = [line for line in told.splitlines(True) if link.is_linker_call(line, action)]
    assert len(lines) == 1
    finished = Finished(2**62)
    finished.link_arguments = lines
    candidate = Candidate()
    link.add_inputs(action, finished, candidate, place.store)
    assert [item.path for item in candidate.inputs if item.kind == FILE] == ["<target>/debug/deps/libdep.rlib"]
