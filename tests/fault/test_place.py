"""Where the store lies: missing, a file, read-only, full, on another file system, somebody else's, gone meanwhile."""

import os
import shutil
import time
from pathlib import Path
from typing import Callable, List

import pytest

from tests.fault.crate import Crate, read, remove
from tests.world import World

NOBODY = 65534


def test_missing_directories_are_made(crate: Crate, world: World) -> None:
    place = world.root / "not" / "there" / "yet"
    crate.check_next(env={"KACHE_CACHE_DIR": str(place)})
    assert place.is_dir()


@pytest.mark.parametrize("what", ["file", "dangling link", "loop", "below a file", "device", "too long", "relative"])
def test_a_place_that_cannot_be_a_store(crate: Crate, world: World, what: str) -> None:
    place = world.root / "odd"
    if what == "file":
        place.write_text("mine")
    elif what == "dangling link":
        place.symlink_to(world.root / "nowhere" / "at-all")
    elif what == "loop":
        place.symlink_to(place)
    elif what == "below a file":
        place.write_text("mine")
        place = place / "cache"
    elif what == "device":
        place = Path("/dev/null")
    elif what == "too long":
        place = world.root / ("long" * 80)
    elif what == "relative":
        place = Path("..") / "relative-cache"
    for _ in range(2):
        crate.check(crate.compile(env={"KACHE_CACHE_DIR": str(place)}))
    if what == "file":
        assert read(place) == b"mine"


@pytest.mark.parametrize("part", ["store", "entries", "memo", "claims", "events.jsonl", "spool"])
@pytest.mark.parametrize("as_what", ["file", "directory", "dangling link"])
def test_a_part_of_the_store_is_something_else(crate: Crate, world: World, part: str, as_what: str) -> None:
    crate.check(crate.compile())
    path = world.cache_dir / part
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if as_what == "file":
        path.write_text("")
    elif as_what == "directory":
        path.mkdir()
    else:
        path.symlink_to(world.root / "nowhere" / "at-all")
    crate.check(crate.compile())
    crate.check(crate.compile())
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    crate.check_next()


def test_no_home_and_no_directory_given(crate: Crate) -> None:
    for _ in range(2):
        crate.check(crate.compile(env={"KACHE_CACHE_DIR": None, "HOME": None, "XDG_CACHE_HOME": None}))


def test_a_read_only_store_gives_and_a_cold_one_does_no_harm(
    crate: Crate, world: World, unprivileged: List[str]
) -> None:
    crate.check(crate.compile())
    set_modes(world.cache_dir, 0o555)
    try:
        warm = crate.check(crate.compile(prefix=unprivileged))
        crate.write("pub fn answer() -> u32 { 43 }\n")
        crate.check(crate.compile(prefix=unprivileged))
    finally:
        set_modes(world.cache_dir, 0o755)
    # the log is inside and cannot be written, so ask it differently
    assert warm.events == []
    crate.check_next()


def test_a_hit_from_a_read_only_store_starts_no_compiler(
    crate: Crate, world: World, unprivileged: List[str], require_tool: Callable[[str], str]
) -> None:
    strace = require_tool("strace")
    crate.check(crate.compile())
    set_modes(world.cache_dir, 0o555)
    log = world.root / "strace"
    try:
        found = crate.compile(prefix=[*unprivileged, strace, "-f", "-e", "trace=execve", "-o", str(log)])
    finally:
        set_modes(world.cache_dir, 0o755)
    crate.check(found)
    assert f'execve("{crate.compiler}"' not in log.read_text()


def test_an_empty_read_only_directory(crate: Crate, world: World, unprivileged: List[str]) -> None:
    world.cache_dir.mkdir(mode=0o555)
    for _ in range(2):
        crate.check(crate.compile(prefix=unprivileged))
    assert list(world.cache_dir.iterdir()) == []
    world.cache_dir.chmod(0o755)
    crate.check_next(prefix=unprivileged)


def test_an_unreadable_store(crate: Crate, world: World, unprivileged: List[str]) -> None:
    crate.check(crate.compile())
    set_modes(world.cache_dir, 0)
    try:
        for _ in range(2):
            crate.check(crate.compile(prefix=unprivileged))
    finally:
        set_modes(world.cache_dir, 0o755)
    crate.check_next()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("writable", [False, True])
def test_a_store_of_somebody_else(crate: Crate, world: World, unprivileged: List[str], writable: bool) -> None:
    """Its directories may be open to all, as in a shared cache, or not; its files are not ours in either case."""
    crate.check(crate.compile())
    give_away(world.cache_dir, 0o777 if writable else 0o755)
    try:
        crate.check(crate.compile(prefix=unprivileged))
        crate.write("pub fn answer() -> u32 { 44 }\n")
        crate.check(crate.compile(prefix=unprivileged))
        again = crate.check(crate.compile(prefix=unprivileged))
        if writable:
            restored = (crate.out / "libx-1.rmeta").stat()
            assert restored.st_uid == os.geteuid()
        else:
            assert again.events == []
    finally:
        for path in [world.cache_dir, *world.cache_dir.rglob("*")]:
            os.lchown(path, os.geteuid(), os.getegid())
    crate.check_next()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become two users")
def test_two_users_of_one_store(crate: Crate, world: World, unprivileged: List[str]) -> None:
    """What one user wrote with a strict umask the other cannot read: then it is compiled."""
    umask = os.umask(0o077)
    try:
        crate.check(crate.compile())
    finally:
        os.umask(umask)
    for path in [world.cache_dir, *world.cache_dir.rglob("*")]:
        os.lchown(path, NOBODY, NOBODY)
    crate.check(crate.compile(prefix=unprivileged))


def test_a_full_file_system(crate: Crate, world: World, tmpfs: Callable[[Path, str], Path]) -> None:
    """With every amount of free space from nothing to enough: what does not fit is not stored, and nothing is half."""
    mounted = tmpfs(world.cache_dir, "256k")
    stuffing = mounted / "stuffing"
    fitted = False
    for free in range(0, 200_000, 4096):
        for path in mounted.iterdir():
            remove(path) if path.is_dir() else path.unlink()
        fill(stuffing, leave=free)
        crate.check(crate.compile())
        stuffing.unlink()
        again = crate.check(crate.compile())
        crate.check_hit()
        if again.result == "local_hit":
            fitted = True
            break
    assert fitted, "the test's file system is too small to ever hold the entry"


def test_events_after_a_full_file_system_can_be_read(
    crate: Crate, world: World, tmpfs: Callable[[Path, str], Path]
) -> None:
    """A line that was cut for want of space does not take the next one with it."""
    mounted = tmpfs(world.cache_dir, "256k")
    crate.check(crate.compile())
    stuffing = mounted / "stuffing"
    fill(stuffing, leave=0)
    for _ in range(12):
        crate.check(crate.compile())
    stuffing.unlink()
    before = len(crate.events())
    crate.check_hit()
    assert len(crate.events()) == before + 1


def test_a_hit_needs_no_space(crate: Crate, world: World, tmpfs: Callable[[Path, str], Path]) -> None:
    mounted = tmpfs(world.cache_dir, "256k")
    crate.check(crate.compile())
    shutil.rmtree(world.cache_dir / "memo")
    fill(mounted / "stuffing", leave=0)
    found = crate.check(crate.compile())
    assert not found.events or found.result == "local_hit"


def test_no_inodes_left(crate: Crate, world: World, tmpfs: Callable[[Path, str], Path]) -> None:
    mounted = tmpfs(world.cache_dir, "1m,nr_inodes=12")
    for _ in range(2):
        crate.check(crate.compile())
    for path in mounted.iterdir():
        remove(path) if path.is_dir() else path.unlink()
    crate.check(crate.compile())


def test_a_full_target(crate: Crate, tmpfs: Callable[[Path, str], Path]) -> None:
    """Where outputs do not fit, the compiler says so; once there is space, the build is right again."""
    crate.check(crate.compile())
    good = crate.good()
    tmpfs(crate.out, "16k")
    stuffing = crate.out / "stuffing"
    fill(stuffing, leave=4096)
    failed = crate.compile(keep=True)
    assert failed.returncode != 0
    stuffing.unlink()
    found = crate.compile()
    assert found.returncode == 0
    assert found.files in [each.files for each in good]


def test_store_and_target_on_two_file_systems(crate: Crate, world: World, tmpfs: Callable[[Path, str], Path]) -> None:
    """Nothing can be linked or renamed from one to the other, so outputs are copied both ways."""
    tmpfs(world.cache_dir, "16m")
    crate.check(crate.compile())
    found = crate.check_hit()
    event = found.events[-1]
    assert event["hardlinked_bytes"] == 0
    assert event["copied_bytes"] > 0
    assert (crate.out / "libx-1.rlib").stat().st_nlink == 1


def test_a_store_that_is_a_link_to_another_place(crate: Crate, world: World) -> None:
    real = world.root / "elsewhere"
    real.mkdir()
    world.cache_dir.symlink_to(real)
    crate.check_next()
    assert (real / "store").is_dir()


def test_the_store_goes_between_two_calls(crate: Crate, world: World) -> None:
    for part in ("store", "entries", "memo", "claims", ""):
        crate.check_next()
        remove(world.cache_dir / part)
        found = crate.check(crate.compile())
        assert (found.result == "local_hit") == (part in ("memo", "claims")), part
    crate.check_next()


def test_files_from_the_future(crate: Crate, world: World) -> None:
    """The clock was set back: everything that was written before is ten years ahead of it."""
    ahead = time.time() + 10 * 365 * 86400
    crate.check_next()
    for path in [world.cache_dir, *world.cache_dir.rglob("*")]:
        os.utime(path, (ahead, ahead), follow_symlinks=False)
    crate.check_hit()
    os.utime(crate.source, (ahead, ahead))
    crate.check(crate.compile())
    crate.check(crate.compile())
    crate.write("pub fn answer() -> u32 { 45 }\n")
    os.utime(crate.source, (ahead, ahead))
    for path in crate.out.iterdir():
        os.utime(path, (ahead, ahead))
    crate.check(crate.compile(keep=True))
    crate.check(crate.compile(keep=True))
    now = time.time()
    newest = max(path.stat().st_mtime for path in crate.out.iterdir())
    assert newest <= now + 1, "outputs that are ahead of the clock make Cargo rebuild for ever"


def test_files_from_the_past(crate: Crate) -> None:
    """A source that changes while its size and time stay the same: only its content tells."""
    os.utime(crate.source, (1, 1))
    crate.check_next()
    for number in range(10, 14):
        before = crate.source.stat()
        crate.write(f"pub fn answer() -> u32 {{ {number} }}\nfn unused() {{}}\n")
        os.utime(crate.source, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert crate.source.stat().st_size == before.st_size
        crate.check_next()


def fill(path: Path, leave: int) -> None:
    """Write a file as large as the file system takes, less ``leave`` bytes."""
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            pass
        file.truncate(max(0, file.tell() - leave))


def set_modes(directory: Path, mode: int) -> None:
    """Set the mode of all directories below, the deepest first; where ``mode`` takes reading away, files as well."""
    paths = sorted([directory, *directory.rglob("*")], key=lambda path: len(path.parts), reverse=mode < 0o700)
    for path in paths:
        if path.is_symlink():
            continue
        if path.is_dir():
            path.chmod(mode)
        elif mode in (0, 0o755):
            path.chmod(0 if mode == 0 else path.stat().st_mode | 0o444)
        elif mode == 0o555:
            path.chmod(path.stat().st_mode & ~0o222)


def give_away(directory: Path, mode: int) -> None:
    """Give a tree to nobody."""
    for path in [directory, *directory.rglob("*")]:
        if path.is_dir():
            path.chmod(mode)
        os.lchown(path, NOBODY, NOBODY)
