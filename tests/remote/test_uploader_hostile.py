"""What lies in the remote is hostile, damaged or far too much: it is refused, told once, and the build goes on."""

import io
import json
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Dict

import zstandard

from tests.remote.machines import SAYS, results
from tests.remote.uploaders import HITS, Fleet, Uploader, entries
from tests.servers.proxy import Proxy


def archive(*members: "tarfile.TarInfo") -> bytes:
    """A tar.zst of these, whose files hold an x."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            member.size = 1 if member.isreg() else 0
            tar.addfile(member, io.BytesIO(b"x"))
    return zstandard.compress(out.getvalue())


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> "tarfile.TarInfo":
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    return found


def bomb() -> bytes:
    """512 MB of zeros."""
    out = io.BytesIO()
    with zstandard.ZstdCompressor(level=1).stream_writer(out, closefd=False) as stream:
        for _ in range(512):
            stream.write(bytes(1 << 20))
    return out.getvalue()


def flipped(data: bytes) -> bytes:
    at = len(data) * 2 // 3
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


ESCAPES = (
    member("../../../escaped"),
    member("/tmp/kache-escaped"),
    member("link", tarfile.SYMTYPE, "/etc"),
    member("link/escaped"),
)

# what becomes of a pack
HOSTILE: Dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "noise": lambda data: os.urandom(3000),
    "cut": lambda data: data[: len(data) // 2],
    "cut_late": lambda data: data[:-1],
    "flipped": flipped,
    "bomb": lambda data: bomb(),
    "escapes": lambda data: archive(*ESCAPES),
    "device": lambda data: archive(member("null", tarfile.CHRTYPE)),
    "twice": lambda data: data + data,
    "html": lambda data: b"<html>Please log in to the network</html>",
}


def spoiled(fleet: Fleet) -> None:
    """Push a library for each kind of trouble, and put the trouble in its place."""
    a = fleet.machine("a", fleet.bucket.env)
    fleet.libraries(a).compile_all([*HOSTILE, "exchanged", "good"])
    Uploader(a).drain().ok()
    (good,) = entries(a, "good")
    for key in fleet.bucket.names():
        crate = key.partition("/")[0]
        if crate in HOSTILE:
            fleet.bucket.write(key, HOSTILE[crate](fleet.bucket.read(key)))
        elif crate == "exchanged":
            fleet.bucket.write(key, fleet.bucket.read(good))


def test_hostile_objects_are_refused_and_told_once(fleet: Fleet) -> None:
    spoiled(fleet)
    b = fleet.machine("b", fleet.bucket.env, KACHE_REMOTE_READONLY="1")
    libraries = fleet.libraries(b)
    names = [*HOSTILE, "exchanged"]
    assert dict(zip(names, libraries.compile_all(names))) == dict.fromkeys(names, "miss")
    assert libraries.compile("good") == "remote_hit"
    for name in [*names, "good"]:
        mine, theirs = libraries.output(name), fleet.world.root / "a/src/ws/target/debug/deps" / f"lib{name}-1.rlib"
        assert mine.read_bytes() == theirs.read_bytes(), name
    keys = entries(b)
    doctor = json.loads(b.run("doctor", "--checksums", "--json", env={"RUSTC_WRAPPER": str(fleet.kache.path)}).stdout)
    assert doctor["verify"]["problems"] == 0, doctor["verify"]
    # again, with nothing left of what was compiled
    b.run("purge").ok()
    assert dict(zip(names, libraries.compile_all(names))) == dict.fromkeys(names, "miss")
    lines = Uploader(b).log().splitlines()
    for key in sorted(keys):
        crate, digest = key.split("/")
        told = [line for line in lines if digest[:12] in line or f"{crate}/" in line]
        assert len(told) == (0 if crate == "good" else 1), "\n".join([key, *told, "all:", *lines])
    assert not list(fleet.world.root.rglob("*escaped*"))
    assert not Path("/tmp/kache-escaped").exists()
    assert Uploader(b).runs()


def test_what_is_damaged_there_is_mended_by_whoever_compiles_it(fleet: Fleet) -> None:
    spoiled(fleet)
    names = [*HOSTILE, "exchanged"]
    b = fleet.machine("b", fleet.bucket.env)
    assert set(fleet.libraries(b).compile_all(names)) == {"miss"}
    Uploader(b).drain().ok()
    c = fleet.machine("c", fleet.bucket.env, KACHE_REMOTE_READONLY="1")
    assert dict(zip(names, fleet.libraries(c).compile_all(names))) == dict.fromkeys(names, "remote_hit")


def test_hostile_plans_and_units_do_not_stop_a_build(fleet: Fleet) -> None:
    """All that is no entry is spoiled: what Cargo asks for still comes from the entries, or is compiled."""
    a = fleet.machine("a", fleet.bucket.env)
    a.cargo("build").ok()
    a.run("save", "--push").ok()
    Uploader(a).drain().ok()
    others = sorted(key for key in fleet.bucket.names() if key.startswith(".units/"))
    assert any("/plans/" in key for key in others)
    for number, key in enumerate(others):
        how = list(HOSTILE.values())[number % len(HOSTILE)]
        fleet.bucket.write(key, how(fleet.bucket.read(key)))
    b = fleet.machine("b", fleet.bucket.env, KACHE_REMOTE_READONLY="1", KACHE_WARM_TARGETS="0")
    run = b.cargo("build").ok()
    assert set(results([run])) <= {"miss", *HITS}
    assert b.program() == SAYS
    assert not list(fleet.world.root.rglob("*escaped*"))


def test_a_crate_with_a_thousand_objects(fleet: Fleet, proxy: Proxy) -> None:
    """A thousand that lie about themselves, all newer than the one that is needed: nobody waits for all of them."""
    a = fleet.machine("a", fleet.bucket.env, KACHE_WARM_TARGETS="0")
    a.cargo("build").ok()
    Uploader(a).drain().ok()
    (native,) = entries(a, "native")
    data = fleet.bucket.read(native)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: fleet.bucket.write(f"native/{number:064x}.tar.zst", data), range(1000)))
    b = fleet.machine(
        "b",
        fleet.through(proxy).env,
        KACHE_WARM_TARGETS="0",
        KACHE_REMOTE_READONLY="1",
    )
    run = b.cargo("build").ok()
    found = run.results()
    assert set(found["macros"] + found["lib"] + found["app"] + found["build_script_build"]) <= HITS
    assert b.program() == SAYS
    asked = [path for method, path, _ in proxy.requests if method in ("GET", "HEAD") and "/native/" in path]
    assert len(asked) <= 300, len(asked)
    assert entries(b) <= entries(a)


def test_a_version_below_many_newer_ones_is_found(fleet: Fleet) -> None:
    """A remote lives for months, and the crate that is wanted is not the newest of its name."""
    a = fleet.machine("a", fleet.bucket.env)
    for number in range(24):
        assert fleet.libraries(a).compile("grown", f"pub fn f() -> u32 {{ {number} }}\n") == "miss"
    Uploader(a).drain().ok()
    b = fleet.machine("b", fleet.bucket.env, KACHE_REMOTE_READONLY="1")
    found = {n: fleet.libraries(b).compile("grown", f"pub fn f() -> u32 {{ {n} }}\n") for n in (23, 12, 0)}
    assert found == {23: "remote_hit", 12: "remote_hit", 0: "remote_hit"}
