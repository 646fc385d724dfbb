"""What counts in the action key beside the sources: files that arguments name, variables, clippy, the linker."""

import os
from pathlib import Path
from typing import List

import pytest

from kachelib import action as actions
from kachelib.store import read_file
from tests.actions import Place, archive, grow_old, settings_with


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# What one thing changes


def test_the_content_of_an_extern_counts_and_its_place_does_not(place: Place) -> None:
    place.write("a/liba.rmeta", "one")
    place.write("b/libother.rmeta", "one")
    first = place.key("--extern", f"a={place.directory}/a/liba.rmeta")
    assert place.key("--extern", f"a={place.directory}/b/libother.rmeta") == first
    assert place.key("--extern", "a=a/liba.rmeta") == first
    place.write("a/liba.rmeta", "two")
    assert place.key("--extern", "a=a/liba.rmeta") != first
    assert place.refusal("--extern", "a=gone.rmeta") == "extern_missing"


def test_an_extern_of_the_same_size_is_another_at_any_speed(place: Place) -> None:
    """Rewritten within one tick of the clock: no memo of the first may stand for the second."""
    path = place.write("a.rmeta", "")
    for number in range(30):
        keys = []
        for letter in "ab":
            path.write_bytes((letter * 20_000 + str(number)).encode())
            keys.append(place.key("--extern", f"a={path}"))
        assert keys[0] != keys[1]
    assert not (Path(place.store.memo_dir()) / "digest").exists(), "what was written just now is not remembered"


def test_a_large_extern_is_remembered_and_a_change_is_seen(place: Place) -> None:
    path = place.write("a.rmeta", "a" * 20_000)
    grow_old()
    first = place.key("--extern", f"a={path}")
    assert (Path(place.store.memo_dir()) / "digest").is_dir()
    assert place.key("--extern", f"a={path}") == first
    path.write_text("b" * 20_000)
    assert place.key("--extern", f"a={path}") != first
    path.write_text("a" * 20_000)
    assert place.key("--extern", f"a={path}") == first


STATIC = ("-l", "static=foo", "-L", "native=one", "-L", "two")


def test_a_static_library_counts_by_content(place: Place) -> None:
    archive(place, "one/libfoo.a", "one")
    first = place.key(*STATIC)
    archive(place, "one/libfoo.a", "two")
    assert place.key(*STATIC) != first
    archive(place, "one/libfoo.a", "one")
    assert place.key(*STATIC) == first
    assert place.key("-l", "static:+whole-archive=foo", *STATIC[2:]) != first
    archive(place, "one/libbar.a", "one")
    renamed = place.key("-l", "static=foo:bar", *STATIC[2:])
    assert renamed != first
    archive(place, "one/libbar.a", "two")
    assert place.key("-l", "static=foo:bar", *STATIC[2:]) != renamed


def test_a_static_library_must_be_there_exactly_once_and_whole(place: Place) -> None:
    assert place.refusal(*STATIC) == "native_library"
    archive(place, "elsewhere/libfoo.a")
    assert place.refusal(*STATIC) == "native_library"
    archive(place, "one/libfoo.a", magic="!<thin>\n")
    assert place.refusal(*STATIC) == "native_library"
    archive(place, "one/libfoo.a")
    place.key(*STATIC)
    archive(place, "two/libfoo.a")
    assert place.refusal(*STATIC) == "native_library"
    # the same directory twice is one library
    place.key("-l", "static=foo", "-L", "native=one", "-L", "native=./one")


def test_a_verbatim_name_is_a_file_name(place: Place) -> None:
    archive(place, "one/libfoo.a")
    verbatim = ("-l", "static:+verbatim=foo.obj", "-L", "native=one")
    assert place.refusal(*verbatim) == "native_library"
    archive(place, "one/foo.obj", "one")
    first = place.key(*verbatim)
    archive(place, "one/foo.obj", "two")
    assert place.key(*verbatim) != first


NAMED = (
    ("profile-use={}", "a.profdata"),
    ("profile-use={}", "a b.profdata"),
    ("profile-use={}", "a=b,c.profdata"),
    ("link-arg={}", "extra.o"),
    ("link-arg=-Wl,--version-script={}", "exports.map"),
    ("link-arg=-Wl,--version-script,{}", "exports.map"),
    ("link-arg=-T{}", "link.ld"),
    ("link-arg=-Wl,-T{}", "link.ld"),
    ("link-arg=-Wl,-T,{}", "link.ld"),
    ("link-args=-nostdlib -T{}", "link.ld"),
    ("link-args=-Wl,--dynamic-list={} a.o", "list"),
    ("llvm-args=-file={}", "x.txt"),
)


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize(("argument", "name"), NAMED)
def test_a_file_that_an_argument_names_counts_by_content(
    argument: str, name: str, absolute: bool, place: Place
) -> None:
    path = place.write(name, "one")
    words = ("-C", argument.format(path if absolute else name))
    for kind in ("lib", "bin"):
        path.write_text("one")
        first = place.key(*words, kind=kind)
        path.write_text("two")
        assert place.key(*words, kind=kind) != first
        path.write_text("one")
        assert place.key(*words, kind=kind) == first


def test_a_linker_script_on_the_library_path_counts(place: Place) -> None:
    place.write("out/link.x", "one")
    words = ("-C", "link-arg=-Tlink.x", "-L", "native=out")
    first = place.key(*words, kind="bin")
    place.write("out/link.x", "two")
    assert place.key(*words, kind="bin") != first
    # the working directory comes before every -L
    place.write("link.x", "one")
    assert place.key(*words, kind="bin") != first


@pytest.mark.parametrize(
    ("argument", "name", "content"),
    [
        ("link-arg=@{}", "words", "a.o"),
        ("link-arg=-Wl,@{}", "words", "a.o"),
        ("link-arg=-T{}", "link.x", "INCLUDE memory.x"),
        ("link-arg=-Wl,-T,{}", "link.x", "SECTIONS {}\nINPUT(other.o)"),
        ("link-arg=-Tgone.x", "", ""),
    ],
)
def test_files_that_name_files_are_refused(argument: str, name: str, content: str, place: Place) -> None:
    place.write(name or "other", content)
    assert place.refusal("-C", argument.format(name), kind="bin") == "input_argument"


def test_the_order_of_named_files_follows_no_path(tmp_path: Path) -> None:
    keys = set()
    for base in (tmp_path / "a", tmp_path / "z"):
        place = Place(base)
        shared = tmp_path / "m.o"
        shared.write_text("shared")
        own = place.write("own.o", "own")
        keys.add(place.key("-C", f"link-args={own} {shared}", kind="bin"))
    assert len(keys) == 1


def test_a_target_description_counts_by_content(place: Place) -> None:
    path = place.write("my.json", "{}")
    keys = [place.key("--target", str(path))]
    path.write_text("{ }")
    keys.append(place.key("--target", str(path)))
    environ = {**place.environ, "RUST_TARGET_PATH": f"/nowhere:{place.directory}"}
    keys += [place.key("--target", "my"), place.key("--target", "my", environ=environ)]
    path.write_text("{}")
    keys.append(place.key("--target", "my", environ=environ))
    assert len(set(keys)) == 5
    assert place.refusal("--target", "gone.json") == "target_json"


def test_native_is_what_this_machine_is(place: Place) -> None:
    if not read_file("/proc/cpuinfo"):
        pytest.skip("nothing tells which processor this is")
    for name in ("target-cpu", "tune-cpu"):
        told = dict(place.action("-C", f"{name}=native").transcript.fields)
        assert "flags" in told["native cpu"] or "Features" in told["native cpu"]
        assert "native cpu" not in dict(place.action("-C", f"{name}=generic").transcript.fields)
    assert "native cpu" in dict(place.action("-Z", "tune-cpu=native").transcript.fields)


@pytest.mark.parametrize("kind", ["crate=", "all=", ""])
@pytest.mark.parametrize("name", ["libother.rlib", "libother.rmeta"])
def test_a_library_path_with_crates_is_refused(kind: str, name: str, place: Place) -> None:
    place.write("lib/" + name, "")
    assert place.refusal("-L", f"{kind}{place.directory}/lib") == "library_path"


@pytest.mark.parametrize("kind", ["native=", "dependency=", "framework="])
def test_other_library_paths_lead_to_no_crate(kind: str, place: Place) -> None:
    place.write("lib/libother.rlib", "")
    place.key("-L", f"{kind}{place.directory}/lib")


def test_declared_inputs_count_by_name_and_content(place: Place) -> None:
    place.write("kache.toml", "extra_inputs = ['data/*']\n")
    keys = [place.key()]
    place.write("data/a", "one")
    keys.append(place.key())
    place.write("data/a", "two")
    keys.append(place.key())
    os.rename(place.directory / "data/a", place.directory / "data/b")
    keys.append(place.key())
    place.write("kache.toml", "extra_inputs = ['data/*', 'nothing/*']\n")
    keys.append(place.key())
    os.unlink(place.directory / "kache.toml")
    keys.append(place.key())
    assert len(set(keys)) == 6
    place.write("kache.toml", "extra_inputs = 'no list'\n")
    assert place.refusal() == "extra_inputs"


@pytest.mark.parametrize(
    "name", ["CARGO_PKG_VERSION", "CARGO_PKG_X", "CARGO_CRATE_NAME", "CARGO_MANIFEST_LINKS", "RUSTC_BOOTSTRAP", "MINE"]
)
def test_a_variable_counts_set_empty_and_unset(name: str, place: Place) -> None:
    settings_with(place.settings, key_env_vars=("MINE",))
    keys = {place.key()}
    for value in ("", "1", "unset", "=1"):
        keys.add(place.key(environ={**place.environ, name: value}))
    assert len(keys) == 5


@pytest.mark.parametrize(
    "name", ["CARGO_PRIMARY_PACKAGE", "CARGO", "LANG", "PATH", "RUSTFLAGS", "CARGO_TARGET_DIR", "TMPDIR"]
)
def test_a_variable_that_no_one_asked_for_does_not(name: str, place: Place) -> None:
    assert place.key(environ={**place.environ, name: "1"}) == place.key()


def test_apple_variables_count_for_apple_alone(place: Place) -> None:
    environ = {**place.environ, "SDKROOT": "/sdk", "MACOSX_DEPLOYMENT_TARGET": "11.0"}
    assert place.key(environ=environ) == place.key()
    apple = ("--target", "aarch64-apple-darwin")
    first = place.key(*apple, environ=environ)
    assert place.key(*apple) != first
    assert place.key(*apple, environ={**environ, "SDKROOT": "/other"}) != first


# clippy


@pytest.mark.parametrize("name", ["Cargo.toml", "clippy.toml", ".clippy.toml", "../clippy.toml", "Cargo.lock"])
def test_what_clippy_reads_counts_for_clippy_alone(name: str, place: Place) -> None:
    place.write("../clippy.toml", "one")
    plain = place.key()
    place.driver = "clippy 0.1.90"
    first = place.key()
    place.write(name, "two")
    assert place.key() != first
    place.driver = ""
    assert place.key() == plain


def test_the_nearest_clippy_configuration_is_the_one_that_counts(place: Place) -> None:
    place.driver = "clippy 0.1.90"
    place.write(".clippy.toml", "one")
    first = place.key()
    for other in ("clippy.toml", "../clippy.toml"):
        place.write(other, "not read")
        assert place.key() == first
    named = {**place.environ, "CLIPPY_CONF_DIR": str(place.directory.parent)}
    second = place.key(environ=named)
    assert second != first
    place.write("../clippy.toml", "read")
    assert place.key(environ=named) != second


@pytest.mark.parametrize(
    "lint", ["clippy::cargo", "clippy::cargo_common_metadata", "clippy::wildcard_dependencies", "clippy::pedantic"]
)
def test_lints_that_look_at_every_package_are_refused(lint: str, place: Place) -> None:
    place.driver = "clippy 0.1.90"
    many = lint != "clippy::pedantic"
    variable = {**place.environ, "CLIPPY_ARGS": f"-W__CLIPPY_HACKERY__{lint}__CLIPPY_HACKERY__"}
    for words, environ in (((f"--warn={lint}",), place.environ), (("-D", lint), place.environ), ((), variable)):
        action = place.unbuilt(place.arguments(*words), environ)
        refusal = actions.build(action, place.settings, place.store)
        assert (refusal is not None) == many
    place.driver = ""
    place.key("--warn", lint)


# The linker


def linker_at(place: Place, relative: str, banner: str) -> str:
    """A linker that says ``banner``."""
    path = place.write(relative, f"#!/bin/sh\ncase $1 in --version) echo '{banner}';; esac\n")
    path.chmod(0o755)
    return str(path)


def test_the_linker_counts_for_what_is_linked(place: Place) -> None:
    one, two = linker_at(place, "one/ld", "linker 1"), linker_at(place, "two/ld", "linker 1")
    three = linker_at(place, "three/ld", "linker 3")
    assert place.key("-C", f"linker={one}") == place.key("-C", f"linker={three}")
    for options in ({"kind": "bin"}, {"kind": "proc-macro"}, {"kind": "cdylib"}, {"kind": "dylib"}):
        first = place.key("-C", f"linker={one}", **options)
        assert place.key("-C", f"linker={two}", **options) == first, "by what it is, not where"
        assert place.key("-C", f"linker={three}", **options) != first
    assert place.key("--test", "-C", f"linker={one}") != place.key("--test", "-C", f"linker={three}")
    assert place.refusal("-C", "linker=/nowhere/ld", kind="bin") == "linker"
    # a check links nothing
    check = "dep-info,metadata"
    assert place.key("-C", f"linker={one}", kind="bin", emit=check) == place.key(
        "-C", f"linker={three}", kind="bin", emit=check
    )


@pytest.mark.parametrize("name", ["LIBRARY_PATH", "NIX_LDFLAGS", "COMPILER_PATH"])
def test_what_moves_a_linker_counts_where_it_links(name: str, place: Place) -> None:
    linker = ("-C", "linker=" + linker_at(place, "ld", "linker 1"))
    environ = {**place.environ, name: "/x"}
    assert place.key(environ=environ) == place.key()
    assert place.key(*linker, kind="bin", environ=environ) != place.key(*linker, kind="bin")


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (["link-arg=-fuse-ld=mold", "link-arg=-Wl,-O1"], ["-fuse-ld=mold"]),
        (["link-arg=-B/x", "link-args=-m32 --sysroot=/s y.o"], ["-B/x", "-m32", "--sysroot=/s"]),
        (["link-arg=-B", "link-arg=/x"], ["-B/x"]),
        (["link-args=-s --sysroot /s -fuse-ld=lld"], ["--sysroot=/s", "-fuse-ld=lld"]),
        (["opt-level=3"], []),
    ],
)
def test_the_linker_is_asked_with_the_flags_that_choose_it(words: List[str], flags: List[str], place: Place) -> None:
    """The fake linker tells what it was asked."""
    linker = place.write("ld", f'#!/bin/sh\necho "$*" >> {place.directory}/asked\necho linker\n')
    linker.chmod(0o755)
    more = [word for each in words for word in ("-C", each)]
    place.key("-C", f"linker={linker}", *more, kind="bin")
    asked = (place.directory / "asked").read_text()
    assert " ".join([*flags, "-print-file-name=crt1.o"]) in asked.splitlines()
