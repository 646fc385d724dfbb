"""Local roots: a path gives its root away and gets the right one back, and no other path is taken for it."""

import os
from pathlib import Path
from typing import Dict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kachelib import roots
from kachelib.roots import CARGO_HOME, HOME, PACKAGE, REMAP_TARGETS, SYSROOT, TARGET, WORKSPACE, Roots

NESTED = {HOME: "/home/u", WORKSPACE: "/home/u/ws", TARGET: "/home/u/ws/target", CARGO_HOME: "/home/u/.cargo"}
ELSEWHERE = {HOME: "/root", WORKSPACE: "/build/x", TARGET: "/tmp/t", CARGO_HOME: "/opt/cargo"}


def roots_of(values: Dict[str, str]) -> Roots:
    return Roots(values, member=True, immutable=False)


HERE, THERE = roots_of(NESTED), roots_of(ELSEWHERE)

parts = st.binary(min_size=1, max_size=6).map(
    lambda data: data.replace(b"\0", b"0").replace(b"/", b"_").decode("utf-8", "surrogateescape")
)
below = st.lists(parts, max_size=3).map(lambda names: "".join("/" + name for name in names))


@given(st.sampled_from([*NESTED.values(), "/usr/lib", "/home/user", "/home/u/ws2", "/home/u/ws-old"]), below)
def test_there_and_back(root: str, rest: str) -> None:
    path = root + rest
    normal = HERE.normalise(path)
    assert HERE.localise(normal) == path
    inside = any(path == value or path.startswith(value + "/") for value in NESTED.values())
    assert normal.startswith("<") == inside


@given(st.sampled_from(list(NESTED)), below)
def test_the_same_file_of_two_places_is_one(name: str, rest: str) -> None:
    if any(
        (NESTED[name] + rest + "/").startswith(NESTED[other] + "/") for other in NESTED if NESTED[other] > NESTED[name]
    ):
        return
    assert HERE.normalise(NESTED[name] + rest) == f"<{name}>{rest}"
    assert THERE.localise(f"<{name}>{rest}") == ELSEWHERE[name] + rest


@pytest.mark.parametrize(
    "path, expected",
    [
        ("/home/u/ws/src/lib.rs", "<workspace>/src/lib.rs"),
        ("/home/u/ws", "<workspace>"),
        ("/home/u/ws/target/debug/x.d", "<target>/debug/x.d"),
        ("/home/u/.cargo/registry/x", "<cargo-home>/registry/x"),
        ("/home/u/notes", "<home>/notes"),
        ("/home/u/wsx/lib.rs", "<home>/wsx/lib.rs"),
        ("/home/user/x", "/home/user/x"),
        ("src/lib.rs", "src/lib.rs"),
        ("", ""),
        ("/", "/"),
    ],
)
def test_the_innermost_root_stands_for_a_path(path: str, expected: str) -> None:
    assert HERE.normalise(path) == expected


def test_a_root_that_is_not_known_here() -> None:
    assert HERE.localise("<package>/src/lib.rs") == ""
    assert HERE.localise("<rubbish") == ""
    assert HERE.localise("relative") == "relative"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("-L/home/u/ws/lib", "-L<workspace>/lib"),
        ("-L /home/u/ws/lib", "-L <workspace>/lib"),
        ("-Wl,-rpath,/home/u/ws", "-Wl,-rpath,<workspace>"),
        ("a=/home/u/ws:/home/u/ws/target", "a=<workspace>:<target>"),
        ("/mnt/home/u/ws", "/mnt/home/u/ws"),
        ("/home/u/ws-2/lib", "<home>/ws-2/lib"),
        ("/home/u/ws.old", "<home>/ws.old"),
        ("/home/users", "/home/users"),
        ('"/home/u/ws"', '"<workspace>"'),
        ("nothing", "nothing"),
    ],
)
def test_roots_inside_a_text(text: str, expected: str) -> None:
    assert HERE.normalise_text(text) == expected


@given(st.text(st.sampled_from("/home/u ws-.,=ablL"), max_size=40))
def test_a_text_without_roots_stays(text: str) -> None:
    normal = HERE.normalise_text(text)
    assert (normal != text) <= HERE.occurs_in(text)
    back = normal
    for name, value in NESTED.items():
        back = back.replace(f"<{name}>", value)
    assert back == text


def test_rustc_takes_the_last_prefix_that_matches() -> None:
    """So the outermost root has to come first, or everything would be named after HOME."""
    flags = HERE.remap_flags()
    order = [flag.partition("=")[2].partition("=")[0] for flag in flags]
    assert set(order) == set(NESTED.values())
    for number, outer in enumerate(order):
        assert not any(outer.startswith(inner + "/") for inner in order[number + 1 :]), order


def test_each_root_has_a_name_of_its_own_in_the_output() -> None:
    assert len(set(REMAP_TARGETS.values())) == len(REMAP_TARGETS)
    flags = roots_of({name: f"/{name}" for name in REMAP_TARGETS}).remap_flags()
    assert sorted(flags) == sorted(f"--remap-path-prefix=/{name}={to}" for name, to in REMAP_TARGETS.items())


def test_the_toolchains_place_is_not_remapped_as_a_root() -> None:
    found = roots.with_sysroot(HERE, "/opt/rust")
    assert found.by_name[SYSROOT] == "/opt/rust"
    assert found.remap_flags() == HERE.remap_flags()
    assert found.normalise("/opt/rust/lib/x") == "<sysroot>/lib/x"


def test_a_root_that_is_no_text_is_not_given_to_rustc() -> None:
    found = roots_of({WORKSPACE: "/caf\udce9", HOME: "/home/u"})
    assert found.remapped() == [HOME]
    assert found.normalise("/caf\udce9/x") == "<workspace>/x"


OUT = "/ws/target/debug/deps"


def find(source: str, cwd: str, out: str = OUT, **environ: str) -> Roots:
    return roots.find(source, cwd, out, {"HOME": "/home/u", **environ})


def test_a_member_is_compiled_in_the_workspace() -> None:
    found = find("app/src/main.rs", "/ws", CARGO_MANIFEST_DIR="/ws/app")
    assert found.member
    assert not found.immutable
    assert found.by_name == {WORKSPACE: "/ws", TARGET: "/ws/target", HOME: "/home/u", CARGO_HOME: "/home/u/.cargo"}


@pytest.mark.parametrize("place", ["registry/src/index-1/dep-1.0.0", "git/checkouts/dep-1/abcdef"])
def test_a_package_of_a_registry_never_changes(place: str) -> None:
    directory = f"/home/u/.cargo/{place}"
    found = find(f"{directory}/src/lib.rs", directory, CARGO_MANIFEST_DIR=directory)
    assert not found.member
    assert found.immutable
    assert PACKAGE not in found.by_name
    assert WORKSPACE not in found.by_name


@pytest.mark.parametrize("directory", ["/home/u/.cargo/mine", "/home/u/.cargo-x/registry/src/a", "/vendor/dep"])
def test_any_other_package_may_change(directory: str) -> None:
    found = find(f"{directory}/src/lib.rs", directory, CARGO_MANIFEST_DIR=directory)
    assert not found.immutable
    assert found.by_name[PACKAGE] == directory


def test_a_workspace_inside_the_registry_is_a_member_that_never_changes() -> None:
    """``cargo install`` builds there."""
    found = find("src/lib.rs", "/home/u/.cargo/registry/src/index-1/tool-1.0.0")
    assert found.member
    assert found.immutable


@pytest.mark.parametrize(
    "environ, expected",
    [
        ({"CARGO_HOME": "/cargo/"}, {CARGO_HOME: "/cargo", HOME: "/home/u"}),
        ({"HOME": ""}, {}),
        ({"HOME": "relative", "CARGO_HOME": "also"}, {}),
        ({"HOME": "/"}, {CARGO_HOME: "/.cargo"}),
        ({"HOME": "/home/u//"}, {HOME: "/home/u", CARGO_HOME: "/home/u/.cargo"}),
    ],
)
def test_odd_homes(environ: Dict[str, str], expected: Dict[str, str]) -> None:
    """The root of everything is the root of nothing."""
    found = roots.find("src/lib.rs", "/ws", OUT, {"HOME": "/home/u", **environ})
    assert {name: value for name, value in found.by_name.items() if name in (HOME, CARGO_HOME)} == expected


@pytest.mark.parametrize(
    "below", ["debug/deps", "x86_64-unknown-linux-gnu/release/deps", "debug/build/dep-1/out", "debug/examples"]
)
@pytest.mark.parametrize("mark", [".rustc_info.json", "CACHEDIR.TAG"])
def test_the_target_directory_is_the_marked_one(tmp_path: Path, below: str, mark: str) -> None:
    out = tmp_path / "target" / below
    out.mkdir(parents=True)
    (tmp_path / "target" / mark).write_text("")
    assert roots.target_directory(str(out)) == str(tmp_path / "target")


def test_an_unmarked_target_is_two_levels_up() -> None:
    assert roots.target_directory("/nowhere/target/debug/deps") == "/nowhere/target"
    assert roots.target_directory("/out") == "/out"


def test_the_nearest_mark_counts(tmp_path: Path) -> None:
    """A target directory below another one, as tests of Cargo tools have."""
    inner = tmp_path / "target" / "tests" / "target"
    out = inner / "debug" / "deps"
    out.mkdir(parents=True)
    for place in (tmp_path / "target", inner):
        (place / "CACHEDIR.TAG").write_text("")
    assert roots.target_directory(str(out)) == str(inner)


@pytest.mark.parametrize(
    "path, expected",
    [
        ("src/lib.rs", "/ws/src/lib.rs"),
        ("./src//lib.rs", "/ws/src/lib.rs"),
        ("/a/./b/", "/a/b"),
        ("/a/.", "/a"),
        ("..", "/ws/.."),
        ("/a/../b", "/a/../b"),
        ("a/.hidden/..x", "/ws/a/.hidden/..x"),
        ("", "/ws"),
        ("/", "/"),
        (".", "/ws"),
    ],
)
def test_absolute_paths(path: str, expected: str) -> None:
    """``..`` stays: before it may stand a symlink."""
    assert roots.absolute(path, "/ws") == expected


@given(below.filter(bool), st.sampled_from(["", "/", "/.", "//"]))
def test_an_absolute_path_means_the_same_file(path: str, end: str) -> None:
    found = roots.absolute(path[1:] + end, "/ws")
    assert found.startswith("/")
    assert os.path.normpath(found) == os.path.normpath("/ws" + path)
    assert roots.absolute(found, "/elsewhere") == found


def test_whether_something_is_there(tmp_path: Path) -> None:
    assert roots.exists(str(tmp_path))
    assert not roots.exists(str(tmp_path / "missing"))
    assert not roots.exists("nul\0")


@given(st.binary(max_size=20))
def test_what_was_utf8(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError:
        assert not roots.is_utf8(data.decode("utf-8", "surrogateescape"))
    else:
        assert roots.is_utf8(data.decode())
