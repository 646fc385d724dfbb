"""The store: blobs and entries come whole or not at all, are never changed, and go without an error."""

import errno
import fcntl
import multiprocessing
import os
import posix
import stat
import time
from pathlib import Path
from typing import Any, Callable, List, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kachelib import entry as entry_format
from kachelib import memo
from kachelib import store as store_module
from kachelib.entry import Candidate
from kachelib.key import digest_bytes
from kachelib.store import BLOB_TIME, CLONED, COPIED, LINKED, Store, read_file

KEY = "ab" * 32


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "cache"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An output as rustc left it."""
    path = tmp_path / "libx.rlib"
    path.write_bytes(b"content")
    return path


DIGEST = digest_bytes(b"content")


def everything(store: Store) -> List[str]:
    """All files of the store, relative, without memos."""
    found = [path for path in Path(store.root).rglob("*") if path.is_file()]
    return sorted(str(path.relative_to(store.root)) for path in found if "memo" not in path.parts)


def put(store: Store, source: Path, share: bool = False, executable: bool = False) -> bool:
    data = source.read_bytes()
    return store.put_file(str(source), digest_bytes(data), len(data), share, executable)


def mode(path: Any) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def entry(key: str = "") -> entry_format.Entry:
    candidate = Candidate()
    candidate.cache_key = key or digest_bytes(b"")
    return entry_format.empty().with_candidate(candidate, [("schema", "1")])


# Blobs


def test_nothing_is_created_before_it_is_needed(store: Store, source: Path) -> None:
    assert store.read_entry(KEY) is None
    assert store.read_blob(DIGEST) is None
    assert not store.has_blob(DIGEST, 7)
    assert not store.has_entry(KEY)
    store.touch_entry(KEY)
    assert store.restore(DIGEST, 7, str(source), False, False) == ""
    assert not os.path.exists(store.root)


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("executable", [False, True])
def test_a_blob_has_its_digests_name_one_mode_and_one_time(
    store: Store, source: Path, share: bool, executable: bool
) -> None:
    assert put(store, source, share, executable)
    path = store.blob_path(DIGEST)
    assert path == f"{store.root}/store/{DIGEST[:2]}/{DIGEST}"
    assert Path(path).read_bytes() == b"content"
    assert mode(path) == (0o555 if executable else 0o444)
    assert os.stat(path).st_mtime_ns == BLOB_TIME * 10**9
    assert everything(store) == [f"store/{DIGEST[:2]}/{DIGEST}"]


def test_bytes_are_blobs_too(store: Store) -> None:
    digest = store.put_bytes(b"content")
    assert digest == DIGEST
    assert store.read_blob(digest) == b"content"
    assert mode(store.blob_path(digest)) == 0o444
    assert os.stat(store.blob_path(digest)).st_mtime_ns == BLOB_TIME * 10**9


@given(data=st.binary(max_size=100))
def test_any_content_comes_back(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    store = Store(str(tmp_path_factory.mktemp("store")))
    assert store.read_blob(store.put_bytes(data)) == data


def no_clone(store: Store) -> None:
    """As on a file system without reflinks."""
    store._reflink = False


def test_sharing_gives_the_files_own_inode(store: Store, source: Path) -> None:
    no_clone(store)
    put(store, source, share=True)
    assert os.stat(store.blob_path(DIGEST)).st_ino == source.stat().st_ino


def test_not_sharing_leaves_the_file_as_it_is(store: Store, source: Path) -> None:
    before = source.stat()
    put(store, source, share=False)
    after = source.stat()
    assert os.stat(store.blob_path(DIGEST)).st_ino != after.st_ino
    assert (after.st_mode, after.st_mtime_ns, after.st_nlink) == (before.st_mode, before.st_mtime_ns, 1)


def test_what_is_known_is_not_put_twice(store: Store, source: Path) -> None:
    assert put(store, source)
    before = memo.identity(os.stat(store.blob_path(DIGEST)))
    assert not put(store, source)
    assert not put(store, source, share=True)
    store.put_bytes(b"content")
    assert memo.identity(os.stat(store.blob_path(DIGEST))) == before


@pytest.mark.parametrize("content", [b"", b"conten", b"content+", b"CONTENT"])
def test_a_damaged_blob_is_replaced_when_it_is_compiled_again(store: Store, source: Path, content: bytes) -> None:
    for again in (lambda: put(store, source), lambda: store.put_bytes(b"content")):
        put(store, source)
        path = Path(store.blob_path(DIGEST))
        path.chmod(0o644)
        path.write_bytes(content)
        assert store.read_blob(DIGEST) is None
        again()
        assert path.read_bytes() == b"content"


def test_a_blob_in_use_elsewhere_is_not_written_into(store: Store, source: Path, tmp_path: Path) -> None:
    """Replacing a damaged blob makes a new inode; who has the old one keeps it."""
    put(store, source)
    other = tmp_path / "elsewhere"
    os.link(store.blob_path(DIGEST), other)
    other.chmod(0o644)
    other.write_bytes(b"changed by somebody")
    put(store, source)
    assert other.read_bytes() == b"changed by somebody"
    assert store.read_blob(DIGEST) == b"content"


def test_a_source_that_is_gone_leaves_nothing_half(store: Store, tmp_path: Path) -> None:
    for share in (False, True):
        with pytest.raises(OSError):
            store.put_file(str(tmp_path / "missing"), DIGEST, 7, share, False)
    assert everything(store) == []


def fails(error: int) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise OSError(error, os.strerror(error))

    return call


@pytest.mark.parametrize("call", ["fsync", "chmod", "utime", "rename"])
def test_a_failure_in_the_middle_leaves_nothing_half(
    store: Store, source: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(posix, call, fails(errno.ENOSPC))
        with pytest.raises(OSError, match="space"):
            put(store, source)
        if call in ("utime", "rename"):
            with pytest.raises(OSError, match="space"):
                store.put_bytes(b"content")
    assert everything(store) == []
    assert put(store, source)


@pytest.mark.parametrize("error", store_module.NO_LINK)
def test_where_links_fail_files_are_copied(
    store: Store, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """Another file system, too many links, not allowed, not known."""
    no_clone(store)
    monkeypatch.setattr(posix, "link", fails(error))
    assert put(store, source, share=True)
    assert source.stat().st_nlink == 1
    target = tmp_path / "restored"
    assert store.restore(DIGEST, 7, str(target), True, False) == COPIED
    assert target.read_bytes() == b"content"


# Restoring


def restore(store: Store, path: Path, share: bool = False, executable: bool = False, size: int = 7) -> str:
    return store.restore(DIGEST, size, str(path), share, executable)


def test_a_private_file_is_a_new_inode_of_now(store: Store, source: Path, tmp_path: Path) -> None:
    put(store, source)
    target = tmp_path / "restored"
    before = time.time() - 0.02
    assert restore(store, target) in (COPIED, CLONED)
    found = target.stat()
    assert found.st_ino != os.stat(store.blob_path(DIGEST)).st_ino
    assert before <= found.st_mtime <= time.time(), "Cargo goes by the file system's clock"
    assert target.read_bytes() == b"content"


def test_a_shared_file_is_the_blob_and_its_metadata_stay(store: Store, source: Path, tmp_path: Path) -> None:
    no_clone(store)
    put(store, source)
    before = os.stat(store.blob_path(DIGEST))
    for number in range(3):
        target = tmp_path / f"restored-{number}"
        assert restore(store, target, share=True) == LINKED
        found = target.stat()
        assert (found.st_ino, found.st_mtime_ns, found.st_mode) == (before.st_ino, before.st_mtime_ns, before.st_mode)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
@pytest.mark.parametrize("executable", [False, True])
def test_private_files_have_the_mode_of_the_umask(
    store: Store, source: Path, tmp_path: Path, umask: int, executable: bool
) -> None:
    put(store, source, executable=executable)
    before = os.umask(umask)
    try:
        restore(store, tmp_path / "restored", executable=executable)
    finally:
        os.umask(before)
    assert mode(tmp_path / "restored") == (0o777 if executable else 0o666) & ~umask


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("what", ["file", "read-only", "link", "dangling", "hard link", "blob"])
def test_what_stood_there_is_unlinked_and_not_written_into(
    store: Store, source: Path, tmp_path: Path, share: bool, what: str
) -> None:
    put(store, source)
    target, other = tmp_path / "restored", tmp_path / "other"
    other.write_bytes(b"other")
    if what == "file":
        target.write_bytes(b"older and longer than the blob")
    elif what == "read-only":
        target.write_bytes(b"older")
        target.chmod(0o444)
    elif what == "link":
        target.symlink_to(other)
    elif what == "dangling":
        target.symlink_to(tmp_path / "nowhere")
    elif what == "hard link":
        os.link(other, target)
    else:
        os.link(store.blob_path(DIGEST), target)
    assert restore(store, target, share=share)
    assert not target.is_symlink()
    assert target.read_bytes() == b"content"
    assert other.read_bytes() == b"other"
    assert not (tmp_path / "nowhere").exists()
    assert store.read_blob(DIGEST) == b"content"


def test_a_blob_of_another_size_is_none(store: Store, source: Path, tmp_path: Path) -> None:
    put(store, source)
    target = tmp_path / "restored"
    target.write_bytes(b"older")
    assert restore(store, target, size=8) == ""
    assert target.read_bytes() == b"older"


def test_a_blob_that_goes_while_it_is_restored_is_a_miss(
    store: Store, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gc works beside builds."""
    real = posix.stat
    for share in (False, True):
        for cloning in (False, True):
            put(store, source)
            store._reflink = cloning

            def vanish(path: Any, **options: Any) -> os.stat_result:
                found = real(path, **options)
                if path == store.blob_path(DIGEST):
                    os.unlink(path)
                return found

            with monkeypatch.context() as patched:
                patched.setattr(posix, "stat", vanish)
                assert restore(store, tmp_path / "restored", share=share) == ""


def test_a_target_that_cannot_be_written_is_an_error(store: Store, source: Path, tmp_path: Path) -> None:
    """It must not pass for a missing blob: the compiler will say it better."""
    put(store, source)
    (tmp_path / "restored").mkdir()
    for share in (False, True):
        with pytest.raises(OSError):
            restore(store, tmp_path / "restored", share=share)


def test_a_file_system_without_reflinks_is_asked_once(
    store: Store, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: List[int] = []

    def ioctl(*_: Any) -> int:
        asked.append(1)
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    put(store, source)
    for _ in range(3):
        restore(store, tmp_path / "restored")
    restore(Store(store.root), tmp_path / "restored")
    assert len(asked) == 1


def test_where_reflinks_work_they_are_taken_first(
    store: Store, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for what could be a hard link: a clone is private and costs as little."""

    def clone(target: int, request: int, origin: int) -> int:
        assert request == store_module.FICLONE
        os.write(target, os.pread(origin, 100, 0))
        return 0

    monkeypatch.setattr(fcntl, "ioctl", clone)
    put(store, source, share=True)
    assert source.stat().st_nlink == 1
    assert restore(store, tmp_path / "restored", share=True) == CLONED
    assert (tmp_path / "restored").stat().st_nlink == 1
    assert (tmp_path / "restored").read_bytes() == b"content"


# Entries


def test_an_entry_comes_back(store: Store) -> None:
    store.write_entry(KEY, entry())
    found = store.read_entry(KEY)
    assert found is not None
    assert len(found) == 1
    assert store.has_entry(KEY)
    assert everything(store) == [f"entries/ab/{KEY}"]
    assert store_module.entry_files(store.root) == [(KEY, store.entry_path(KEY))]


def test_an_entry_without_candidates_is_removed(store: Store) -> None:
    store.write_entry(KEY, entry())
    store.write_entry(KEY, entry_format.empty())
    assert everything(store) == []
    store.write_entry(KEY, entry_format.empty())


@pytest.mark.parametrize("writable", [True, False])
def test_a_damaged_entry_is_dropped_from_ones_own_store(store: Store, writable: bool) -> None:
    store.write_entry(KEY, entry())
    Path(store.entry_path(KEY)).write_bytes(b"rubbish")
    assert Store(store.root, writable).read_entry(KEY) is None
    assert store.has_entry(KEY) is not writable


def test_using_an_entry_stamps_it(store: Store) -> None:
    store.write_entry(KEY, entry())
    os.utime(store.entry_path(KEY), (1, 1))
    Store(store.root, writable=False).touch_entry(KEY)
    assert os.stat(store.entry_path(KEY)).st_mtime == 1
    store.touch_entry(KEY)
    assert os.stat(store.entry_path(KEY)).st_mtime > time.time() - 60


def test_an_entry_is_replaced_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write_entry(KEY, entry("1" * 64))
    with monkeypatch.context() as patched:
        patched.setattr(posix, "rename", fails(errno.EIO))
        with pytest.raises(OSError):
            store.write_entry(KEY, entry("2" * 64))
    found = store.read_entry(KEY)
    assert found is not None
    assert [each.cache_key for each in found.candidates()] == ["1" * 64]
    assert everything(store) == [f"entries/ab/{KEY}"]


def test_what_only_its_size_vouches_for_is_synced(
    store: Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash a file's name stands for its whole content; text and entries have checksums that are looked at."""
    calls: List[str] = []
    for name in ("fsync", "rename"):
        real = getattr(posix, name)

        def note(*arguments: Any, real: Callable[..., Any] = real, name: str = name) -> Any:
            calls.append(name)
            return real(*arguments)

        monkeypatch.setattr(posix, name, note)
    store.put_bytes(b"other")
    store.write_entry(KEY, entry())
    assert calls == ["rename"] * 2
    calls.clear()
    put(store, source)
    assert calls == ["fsync", "rename"]


def test_bytes_that_become_a_file_are_synced(store: Store, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waited for the disk when they were put, and a file's digest is not looked at on a hit."""
    synced: List[int] = []
    real = posix.fsync

    def note(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        real(fd)

    store.put_bytes(b"content")
    monkeypatch.setattr(posix, "fsync", note)
    assert not put(store, source)
    assert synced == [os.stat(store.blob_path(DIGEST)).st_ino]


# Claims


def child(run: Callable[..., None], *arguments: Any) -> "multiprocessing.Process":
    """``run`` in another process: record locks do not hold against one's own."""
    context = multiprocessing.get_context("fork")
    process = context.Process(target=run, args=arguments)
    process.start()
    return process  # type: ignore[return-value]


def in_child(root: str, patience: float, purpose: str, answer: Any) -> None:
    store = Store(root)
    claim = store.claim(KEY, patience, purpose)
    answer.put(claim is not None)
    if claim is not None:
        store.release(KEY, claim)


def another_gets_it(store: Store, patience: float = 0.05, purpose: str = "") -> bool:
    context = multiprocessing.get_context("fork")
    answer: "multiprocessing.SimpleQueue[bool]" = context.SimpleQueue()
    process = child(in_child, store.root, patience, purpose, answer)
    found = answer.get()
    process.join()
    return found


def test_one_holds_a_claim_and_the_next_gets_it_after(store: Store) -> None:
    claim = store.claim(KEY, 1.0)
    assert claim is not None
    assert not another_gets_it(store)
    store.release(KEY, claim)
    assert another_gets_it(store)
    assert os.listdir(store.root + "/claims") == []


def test_claims_of_different_keys_do_not_meet(store: Store) -> None:
    claims = [store.claim(key * 64, 0.0) for key in "abc"]
    assert None not in claims
    for key, claim in zip("abc", claims):
        assert claim is not None
        store.release(key * 64, claim)


def hold(root: str, ready: Any, seconds: float) -> None:
    Store(root).claim(KEY, 1.0)
    ready.put(True)
    time.sleep(seconds)


def held(store: Store, seconds: float = 60.0) -> "multiprocessing.Process":
    """Another process that holds the claim."""
    ready: "multiprocessing.SimpleQueue[bool]" = multiprocessing.get_context("fork").SimpleQueue()
    process = child(hold, store.root, ready, seconds)
    assert ready.get()
    return process


def test_patience_ends(store: Store) -> None:
    process = held(store)
    started = time.monotonic()
    assert store.claim(KEY, 0.2) is None
    assert 0.2 <= time.monotonic() - started < 20
    process.kill()
    process.join()


def test_a_dead_holder_frees_its_claim(store: Store) -> None:
    process = held(store)
    process.kill()
    process.join()
    assert os.path.exists(f"{store.root}/claims/{KEY}"), "its file stays, its lock does not"
    claim = store.claim(KEY, 0.0)
    assert claim is not None
    store.release(KEY, claim)


def test_nobody_waits_for_a_holder_of_another_purpose(store: Store) -> None:
    """Two sources under one action: neither can use what the other compiles."""
    claim = store.claim(KEY, 1.0, "1" * 64)
    assert claim is not None
    started = time.monotonic()
    assert not another_gets_it(store, 30.0, "2" * 64)
    assert time.monotonic() - started < 20
    store.release(KEY, claim)


def test_a_claim_whose_file_was_removed_is_taken_anew(store: Store) -> None:
    """gc removes old claims; who waited on the removed one must not believe that it holds the new one."""
    claim = store.claim(KEY, 1.0)
    assert claim is not None
    os.unlink(f"{store.root}/claims/{KEY}")
    second = Store(store.root).claim(KEY, 0.0)
    assert second is not None
    assert os.fstat(second).st_ino == os.stat(f"{store.root}/claims/{KEY}").st_ino
    os.close(claim)
    store.release(KEY, second)


@pytest.mark.parametrize("what", ["file", "read-only", "claims is a file"])
def test_where_no_lock_can_be_had_there_is_none(tmp_path: Path, what: str) -> None:
    root = tmp_path / "cache"
    if what == "file":
        root.write_text("")
    else:
        root.mkdir()
        (root / "claims").write_text("")
    assert Store(str(root)).claim(KEY, 5.0) is None


def increment(root: str, counter: str, rounds: int) -> None:
    store = Store(root)
    for _ in range(rounds):
        claim: Optional[int] = store.claim(KEY, 60.0)
        assert claim is not None
        value = int(Path(counter).read_text())
        time.sleep(0)
        Path(counter).write_text(str(value + 1))
        store.release(KEY, claim)


def test_no_two_hold_a_claim_at_once(store: Store, tmp_path: Path) -> None:
    """Holders remove the file they locked: the waiting must not come to hold what is no claim any more."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    processes = [child(increment, store.root, str(counter), 60) for _ in range(6)]
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert counter.read_text() == "360"


# Files


def test_read_file_reads_what_is_there(tmp_path: Path) -> None:
    for data in (b"", b"x", b"x" * (store_module.CHUNK * 2 + 1)):
        (tmp_path / "file").write_bytes(data)
        assert read_file(str(tmp_path / "file")) == data
    assert read_file("/proc/self/stat"), "it has no size, and content all the same"


def test_read_file_of_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("missing", ".", "fifo", "nul\0", "x" * 5000):
        assert read_file(str(tmp_path / name)) is None
    assert read_file("/dev/zero") is None


def test_replacing_a_file_makes_a_new_inode(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"old")
    os.link(first, second)
    store_module.replace_file(str(first), b"new")
    assert (first.read_bytes(), second.read_bytes()) == (b"new", b"old")


def test_copying_does_not_write_over_anything(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"y" * (store_module.CHUNK + 3))
    assert store_module.copy_file(str(first), str(second), 0o600) == store_module.CHUNK + 3
    assert second.read_bytes() == first.read_bytes()
    assert mode(second) == 0o600
    with pytest.raises(FileExistsError):
        store_module.copy_file(str(first), str(second), 0o600)


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = posix.write
    monkeypatch.setattr(posix, "write", lambda fd, data: real(fd, bytes(data)[:3]))
    store_module.write_file(str(tmp_path / "file"), b"0123456789", 0o644)
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_directories_are_made_where_they_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c"
    store_module.make_directories(str(path))
    store_module.make_directories(str(path))
    assert path.is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        store_module.make_directories(str(tmp_path / "file" / "below"))


def test_entries_are_found_and_temporary_files_are_none(store: Store) -> None:
    assert store_module.entry_files(store.root) == []
    store.write_entry(KEY, entry())
    Path(store.root, "entries", "ab", ".tmp-1-2-3").write_text("")
    Path(store.root, "entries", "stray").write_text("")
    assert [key for key, _ in store_module.entry_files(store.root)] == [KEY]
