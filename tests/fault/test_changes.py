"""Something that a compile reads changes while it runs or waits: what came of it is not kept under a wrong key.

A compiler that stops at a gate makes the moment certain.
"""

import os
import subprocess
import time
from pathlib import Path
from typing import Callable, Optional

import pytest

from tests.fault.compilers import Gate, odd
from tests.fault.crate import Crate
from tests.world import World

OLD = "pub fn answer() -> u32 { 1 }\n"
NEW = "pub fn answer() -> u32 { 2 }\n"


def write_in_place(path: Path, text: str) -> None:
    path.write_text(text)


def write_and_rename(path: Path, text: str) -> None:
    """As editors save."""
    draft = path.with_suffix(".new")
    draft.write_text(text)
    draft.rename(path)


def write_with_old_times(path: Path, text: str) -> None:
    """As ``cp -p`` and archive tools do."""
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def rename_with_old_times(path: Path, text: str) -> None:
    draft = path.with_suffix(".old")
    draft.write_text(text)
    os.utime(draft, (1, 1))
    draft.rename(path)


WAYS = [write_in_place, write_and_rename, write_with_old_times, rename_with_old_times]


def during(crate: Crate, gate: Gate, change: Callable[[], None]) -> None:
    """Compile, and let ``change`` happen while the compiler stands at the gate."""
    process = crate.start()
    gate.wait()
    change()
    gate.open()
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("moment", ["before it is read", "after it was read"])
def test_the_source(crate: Crate, world: World, way: Callable[[Path, str], None], moment: str) -> None:
    gate = Gate(world.root)
    odd(crate, **{"before" if moment.startswith("before") else "after": gate.shell()})
    crate.write(OLD)
    during(crate, gate, lambda: way(crate.source, NEW))
    crate.check_next()
    crate.write(OLD)
    crate.check_next()


@pytest.mark.parametrize("way", WAYS)
def test_a_module_and_an_included_file(crate: Crate, world: World, way: Callable[[Path, str], None]) -> None:
    gate = Gate(world.root)
    odd(crate, before=gate.shell())
    crate.write('mod inner;\npub static TEXT: &str = include_str!("text");\npub use inner::answer;\n')
    module, text = crate.source.with_name("inner.rs"), crate.source.with_name("text")
    module.write_text(OLD)
    text.write_text("old")

    def change() -> None:
        way(module, NEW)
        way(text, "new")

    during(crate, gate, change)
    crate.check_next()
    for number in range(3):
        module.write_text(NEW if number & 1 else OLD)
        text.write_text("new" if number & 2 else "old")
        crate.compile()
        assert crate.compile().files in [each.files for each in crate.good()]


@pytest.mark.parametrize("way", WAYS)
def test_a_dependency(crate: Crate, world: World, way: Callable[[Path, str], None]) -> None:
    """An extern that is replaced between its hashing and its reading."""
    kept = library(crate, "old", "pub const N: u32 = 1;\n"), library(crate, "new", "pub const N: u32 = 2;\n")
    dependency = crate.directory / "libdep.rlib"
    dependency.write_bytes(kept[0])
    crate.more = ["--extern", f"dep={dependency}"]
    crate.write("pub fn answer() -> u32 { dep::N }\n")
    gate = Gate(world.root)
    odd(crate, before=gate.shell())

    def change() -> None:
        way_bytes(way, dependency, kept[1])

    during(crate, gate, change)
    dependency.write_bytes(kept[0])
    again(crate)
    dependency.write_bytes(kept[1])
    again(crate)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", ["inside", "outside"])
def test_an_extra_input(crate: Crate, world: World, way: Callable[[Path, str], None], where: str) -> None:
    """Only the declaration says that the compile reads it: here the compiler itself does, as a proc macro would."""
    declared = "data/value" if where == "inside" else "../shared/value"
    path = Path(os.path.normpath(crate.directory / declared))
    path.parent.mkdir()
    crate.also = [path]
    path.write_text("1")
    (crate.directory / "kache.toml").write_text(f"extra_inputs = ['{declared}']\n")
    gate = Gate(world.root)
    odd(crate, before=gate.shell() + f'\nset -- "$@" --cfg value=\\"$(cat \'{path}\')\\"')
    crate.write('pub fn answer() -> u32 { if cfg!(value = "1") { 1 } else { 2 } }\n')
    during(crate, gate, lambda: way(path, "2"))
    path.write_text("1")
    again(crate)
    path.write_text("2")
    again(crate)


def test_an_extra_input_that_appears(crate: Crate, world: World) -> None:
    data = crate.directory / "data"
    data.mkdir()
    (crate.directory / "kache.toml").write_text("extra_inputs = ['data/*']\n")
    gate = Gate(world.root)
    odd(crate, before=gate.shell() + f'\nset -- "$@" --cfg files=\\"$(ls \'{data}\' | wc -l)\\"')
    crate.write('pub fn answer() -> u32 { if cfg!(files = "0") { 1 } else { 2 } }\n')
    during(crate, gate, lambda: write_in_place(data / "a", ""))
    (data / "a").unlink()
    again(crate)
    write_in_place(data / "a", "")
    again(crate)


@pytest.mark.parametrize("way", WAYS)
def test_a_static_library(
    crate: Crate, world: World, way: Callable[[Path, str], None], require_tool: Callable[[str], str]
) -> None:
    """It becomes part of the .rlib, so which of two was bundled shows in the bytes."""
    archives = [archive(crate, require_tool, number) for number in (1, 2)]
    path = crate.directory / "native" / "libnumber.a"
    path.parent.mkdir()
    path.write_bytes(archives[0])
    crate.more = ["-L", f"native={path.parent}", "-l", "static=number"]
    crate.write('extern "C" { pub fn number() -> i32; }\n')
    gate = Gate(world.root)
    odd(crate, before=gate.shell())
    during(crate, gate, lambda: way_bytes(way, path, archives[1]))
    for content in archives:
        path.write_bytes(content)
        again(crate)


def test_an_extra_input_that_changes_while_another_compiles_the_same(crate: Crate, world: World) -> None:
    """Two calls of one key: the second hashed its inputs, then waited. By the time it compiles they are others."""
    path = crate.directory / "data"
    path.write_text("1")
    (crate.directory / "kache.toml").write_text("extra_inputs = ['data']\n")
    gate = Gate(world.root)
    odd(crate, before=gate.shell() + f'\nset -- "$@" --cfg value=\\"$(cat \'{path}\')\\"', after="")
    crate.write('pub fn answer() -> u32 { if cfg!(value = "1") { 1 } else { 2 } }\n')
    first = crate.start()
    gate.wait()
    second = crate.start(stdin=None)
    claimed(second, world)
    path.write_text("2")
    gate.open()
    for process in (first, second):
        process.communicate(timeout=60)
        assert process.returncode == 0
    path.write_text("1")
    again(crate)
    path.write_text("2")
    again(crate)


def test_the_source_changes_while_another_compiles_the_same(crate: Crate, world: World) -> None:
    gate = Gate(world.root)
    odd(crate, before=gate.shell())
    crate.write(OLD)
    first = crate.start()
    gate.wait()
    second = crate.start()
    claimed(second, world)
    crate.write(NEW)
    gate.open()
    for process in (first, second):
        process.communicate(timeout=60)
        assert process.returncode == 0
    crate.check_next()
    crate.write(OLD)
    crate.check_next()


def test_an_output_that_changes_after_the_compile_is_stored_as_it_is_found(crate: Crate, world: World) -> None:
    """Somebody writes into an output while kache stores: the blob's name has to be its content's."""
    crate.check(crate.compile())
    from kachelib.key import digest_bytes

    for path in crate.store_files("store"):
        assert digest_bytes(path.read_bytes()) == path.name


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_rival_module_file_that_appears(crate: Crate, world: World, moment: str) -> None:
    """``inner/mod.rs`` beside ``inner.rs`` is an error: the next compile has to say so."""
    crate.write("mod inner;\npub use inner::answer;\n")
    crate.source.with_name("inner.rs").write_text(OLD)
    gate = Gate(world.root)
    odd(crate, **{"before" if moment == "before" else "after": gate.shell()})
    rival = crate.source.parent / "inner" / "mod.rs"

    def change() -> None:
        rival.parent.mkdir()
        rival.write_text(NEW)

    process = crate.start()
    gate.wait()
    change()
    gate.open()
    process.communicate(timeout=60)
    for _ in range(2):
        found = crate.compile()
        assert found.returncode == 1, "the error was not seen"
        assert b"E0761" in found.stderr
    rival.unlink()
    crate.check(crate.compile())


def way_bytes(way: Callable[[Path, str], None], path: Path, data: bytes) -> None:
    """One of WAYS, with bytes."""
    before = path.stat()
    if way in (write_and_rename, rename_with_old_times):
        draft = path.with_suffix(".draft")
        draft.write_bytes(data)
        if way is rename_with_old_times:
            os.utime(draft, (1, 1))
        draft.rename(path)
    else:
        path.write_bytes(data)
        if way is write_with_old_times:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def library(crate: Crate, name: str, text: str) -> bytes:
    """Another crate, ``dep``, compiled without kache."""
    source = crate.directory / f"{name}.rs"
    source.write_text(text)
    out = crate.directory / f"{name}.rlib"
    command = [crate.compiler, "--crate-name", "dep", "--crate-type", "lib", "--edition=2021", "-o", out, source]
    subprocess.run([str(word) for word in command], check=True, cwd=crate.directory, env=crate.world.env)
    return out.read_bytes()


def archive(crate: Crate, require_tool: Callable[[str], str], number: int) -> bytes:
    """A static library with one function."""
    source = crate.directory / f"number{number}.c"
    source.write_text(f"int number(void) {{ return {number}; }}\n")
    objects, out = source.with_suffix(".o"), source.with_suffix(".a")
    subprocess.run([require_tool("cc"), "-c", str(source), "-o", str(objects)], check=True)
    subprocess.run([require_tool("ar"), "crsD", str(out), str(objects)], check=True)
    return out.read_bytes()


def again(crate: Crate) -> None:
    """Two more calls, both right for the inputs as they are now."""
    crate.check(crate.compile())
    crate.check(crate.compile())


def claimed(process: "subprocess.Popen[bytes]", world: World, timeout: Optional[float] = 20.0) -> None:
    """Wait until a wrapper waits for the claim that another holds: it then has the claim's file open."""
    deadline = time.monotonic() + (timeout or 0)
    claims = str(world.cache_dir / "claims")
    while time.monotonic() < deadline:
        directory = Path(f"/proc/{process.pid}/fd")
        try:
            if any(os.readlink(fd).startswith(claims) for fd in directory.iterdir()):
                return
        except OSError:
            pass
        time.sleep(0.005)
    raise AssertionError("it did not come to wait")
