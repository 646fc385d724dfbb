"""Archives: which members are in an .rlib, and which of them rustc did not make."""

import subprocess
from pathlib import Path
from typing import Callable, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kachelib import archive, collect
from kachelib.collect import Collected, NotStored
from kachelib.entry import ABSENT, FILE, Candidate, Input, Output
from kachelib.key import digest_bytes
from kachelib.store import digest_file
from tests.actions import Place


def header(name: bytes, size: bytes) -> bytes:
    return name.ljust(16) + b"0           0     0     644     " + size.ljust(10) + b"`\n"


def member(name: bytes, data: bytes) -> bytes:
    return header(name, b"%d" % len(data)) + data + (b"\n" if len(data) & 1 else b"")


def write(path: Path, *members: bytes) -> str:
    path.write_bytes(archive.MAGIC + b"".join(members))
    return str(path)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive") / "lib.rlib"


names = st.text(st.characters(min_codepoint=48, max_codepoint=122, exclude_characters="/"), min_size=1, max_size=40)


@given(st.lists(st.tuples(names, st.binary(max_size=7)), max_size=6), st.sampled_from(["gnu", "bsd"]))
def test_names_of_any_length_are_read(scratch: Path, found: List[Tuple[str, bytes]], style: str) -> None:
    """GNU's long names stand in a member of their own, BSD's before the data."""
    members: List[bytes] = []
    table = b""
    for name, data in found:
        if style == "bsd":
            raw = name.encode() + b"\0" * (-len(name) % 4)
            members.append(member(b"#1/%d" % len(raw), raw + data))
        elif len(name) > 15:
            members.append(member(b"/%d" % len(table), data))
            table += name.encode() + b"/\n"
        else:
            members.append(member(name.encode() + b"/", data))
    tables = [member(b"/", b"symbols"), member(b"//", table)] if style == "gnu" else []
    path = write(scratch, *tables, *members)
    assert archive.members(path)[len(tables) :] == [name for name, _ in found]


@pytest.mark.parametrize("content", [b"", b"!<arch>", b"!<thin>\n", b"\x7fELF" * 20])
def test_what_is_no_archive(scratch: Path, content: bytes) -> None:
    scratch.write_bytes(content)
    with pytest.raises(ValueError, match="not an archive"):
        archive.members(str(scratch))


@pytest.mark.parametrize("size", [b"", b"x", b"-60", b"-1", b"1 2", b"0x10", b"\xff"])
def test_a_size_that_is_no_number(scratch: Path, size: bytes) -> None:
    path = write(scratch, header(b"a/", size) + b"data")
    with pytest.raises(ValueError):
        archive.members(path)


def test_a_cut_archive_ends_where_it_ends(scratch: Path) -> None:
    path = write(scratch, member(b"a/", b"123"), member(b"b/", b"456")[:-30])
    assert archive.members(path) == ["a"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def checked(place: Place, members: List[bytes], *more: str, source: str = "") -> Candidate:
    """The candidate of a library with these members, after the check."""
    place.write("src/lib.rs", source)
    action = place.action(*more)
    path = place.out / "libx-1.rlib"
    write(path, *members)
    candidate = Candidate()
    candidate.inputs.append(Input("s", "<workspace>/src/lib.rs", digest_bytes(source.encode())))
    collected = Collected(candidate)
    collected.files.append((str(path), Output(path.name, "link", digest_file(str(path)), path.stat().st_size, False)))
    archive.check(action, collected, candidate, place.store)
    return candidate


OWN = [
    member(b"/", b"symbols"),
    member(b"//", b"x-1.x.0123456789abcdef-cgu.0.rcgu.o/\n"),
    member(b"lib.rmeta/", b"metadata"),
    member(b"/0", b"object"),
]
NATIVE = [member(b"number.o/", b"native")]
LINK = '#[link(name = "number", kind = "static")]\nextern "C" {}\n'


def test_a_library_of_rustcs_own_members_is_stored(place: Place) -> None:
    assert len(checked(place, OWN).inputs) == 1


def test_native_objects_of_unknown_origin_are_not_stored(place: Place) -> None:
    with pytest.raises(NotStored, match="unknown origin"):
        checked(place, OWN + NATIVE)


def library(place: Place, content: bytes = b"1") -> List[str]:
    """A static library on the search path."""
    directory = place.directory / "native"
    directory.mkdir(exist_ok=True)
    write(directory / "libnumber.a", member(b"number.o/", content))
    return ["-L", f"native={directory}"]


def test_a_library_that_the_sources_name_becomes_an_input(place: Place) -> None:
    candidate = checked(place, OWN + NATIVE, *library(place), source=LINK)
    path = place.directory / "native" / "libnumber.a"
    added, absent = candidate.inputs[-2:]
    assert (absent.kind, absent.path) == (ABSENT, "<workspace>/native/number.lib")
    assert (added.kind, added.path, added.digest) == (FILE, "<workspace>/native/libnumber.a", digest_file(str(path)))


def test_a_library_that_the_arguments_name_is_in_the_key_already(place: Place) -> None:
    assert len(checked(place, OWN + NATIVE, *library(place), "-l", "static=number").inputs) == 1


def test_one_of_each_counts_both(place: Place) -> None:
    arguments = [*library(place), "-l", "static=number"]
    assert len(checked(place, OWN + NATIVE, *arguments, source=LINK).inputs) == 3


def test_a_library_that_is_not_found_is_not_stored(place: Place) -> None:
    with pytest.raises(NotStored, match="number"):
        checked(place, OWN + NATIVE, source=LINK)


def test_a_library_that_is_found_twice_is_not_stored(place: Place) -> None:
    second = place.directory / "second"
    second.mkdir()
    arguments = [*library(place), "-L", f"native={second}"]
    write(second / "libnumber.a")
    with pytest.raises(NotStored, match="exactly once"):
        checked(place, OWN + NATIVE, *arguments, source=LINK)


@pytest.mark.parametrize(
    "text",
    [
        LINK,
        '#[link(kind = "static", name = "number")] extern "C" {}',
        '#[link(\n    name = "number",\n    kind = "static",\n    modifiers = "+whole-archive"\n)] extern "C" {}',
        '#[cfg_attr(unix, link(name = "number", kind = "static"))] extern "C" {}',
        '#[link( kind="static" , name="number" )] extern "C" {}',
    ],
)
def test_the_ways_to_write_the_attribute(place: Place, text: str) -> None:
    assert checked(place, OWN + NATIVE, *library(place), source=text).inputs[-2].path.endswith("libnumber.a")


def test_a_dynamic_library_in_the_sources_brings_no_objects(place: Place) -> None:
    assert len(checked(place, OWN, source='#[link(name = "m")] extern "C" {}').inputs) == 1


def test_rustc_itself_makes_no_foreign_members(tmp_path: Path, rust: "dict[str, str]") -> None:
    if not rust:
        pytest.skip("Rust is missing")
    (tmp_path / "lib.rs").write_text('pub fn f(x: u64) -> String { format!("{x}") }\n')
    for more in ([], ["-g"], ["-O", "-C", "codegen-units=4"], ["-C", "embed-bitcode=yes", "-C", "lto=off"]):
        command = [f"{rust['sysroot']}/bin/rustc", "--crate-type", "lib", "--emit=link,metadata", "--out-dir", "."]
        subprocess.run([*command, *more, "lib.rs"], cwd=tmp_path, check=True)
        found = archive.members(str(tmp_path / "liblib.rlib"))
        known = (*archive.TABLES, *archive.OWN_NAMES)
        own = [name for name in found if name.startswith("lib.") and name.endswith(archive.OWN_SUFFIXES)]
        assert [name for name in found if name not in own and name not in known] == []
        assert any(name.endswith(".rmeta") for name in found)


def test_the_systems_archiver_is_understood(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    files = ["a.o", "a_name_that_is_longer_than_sixteen.o", "b.o"]
    for name in files:
        (tmp_path / name).write_text(name)
    subprocess.run([require_tool("ar"), "crD", "lib.a", *files], cwd=tmp_path, check=True)
    assert [name for name in archive.members(str(tmp_path / "lib.a")) if name not in archive.TABLES] == files


def test_collecting_asks(place: Place) -> None:
    """The check is part of what decides whether a compile is stored."""
    from tests.actions import compiled

    action = place.action()
    content = archive.MAGIC + b"".join(OWN + NATIVE)
    finished = compiled(place, action, {"libx-1.rmeta": b"metadata", "libx-1.rlib": content})
    with pytest.raises(NotStored, match="unknown origin"):
        collect.collect(action, finished, "", place.store)
