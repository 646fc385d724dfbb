"""Memos: a damaged one is none, and one that holds says what the file holds now."""

import os
import time
from pathlib import Path
from typing import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kachelib import memo
from kachelib.key import digest_bytes
from kachelib.store import BLOB_TIME, Store

LARGE = memo.SMALL + 1


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "cache"))


def old(path: Path, content: bytes) -> Path:
    """A file that was written long enough ago to be remembered."""
    path.write_bytes(content)
    # only time itself moves a status change
    time.sleep(memo.RACY_NS / 1e9 + 0.015)
    return path


def memo_of(path: Path, store: Store) -> Path:
    return Path(memo.path_of(store.memo_dir(), "digest", str(path)))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("memo") / "memo"


@given(st.binary(max_size=200))
def test_what_was_written_is_read(scratch: Path, body: bytes) -> None:
    memo.write(str(scratch), body)
    assert memo.read(str(scratch)) == body


@given(st.binary(max_size=50), st.integers(0), st.integers(1, 255))
def test_any_damaged_byte_is_noticed(scratch: Path, body: bytes, place: int, change: int) -> None:
    memo.write(str(scratch), body)
    data = bytearray(scratch.read_bytes())
    data[place % len(data)] ^= change
    scratch.write_bytes(data)
    assert memo.read(str(scratch)) is None


@given(st.binary(max_size=50), st.integers(0))
def test_any_cut_is_noticed(scratch: Path, body: bytes, place: int) -> None:
    memo.write(str(scratch), body)
    data = scratch.read_bytes()
    scratch.write_bytes(data[: place % len(data)])
    assert memo.read(str(scratch)) is None


@given(st.binary(max_size=200))
def test_rubbish_is_no_memo(scratch: Path, data: bytes) -> None:
    for content in (data, memo.MAGIC + data):
        scratch.write_bytes(content)
        assert memo.read(str(scratch)) is None


def test_no_memo(tmp_path: Path) -> None:
    assert memo.read(str(tmp_path / "missing")) is None
    assert memo.read(str(tmp_path)) is None
    assert memo.read(str(tmp_path / "nul\0")) is None


def test_directories_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "memo"
    memo.write(str(path), b"body")
    assert memo.read(str(path)) == b"body"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("parent", ["file", "directory"])
def test_what_cannot_be_kept_is_not(tmp_path: Path, parent: str) -> None:
    """Nor does it leave a temporary file."""
    place = tmp_path / "place" / "in-the-way"
    place.parent.mkdir()
    if parent == "file":
        place.write_text("")
        memo.write(str(place / "memo"), b"body")
    else:
        place.mkdir()
        memo.write(str(place), b"body")
    assert list(place.parent.iterdir()) == [place]


def test_subjects_have_memos_of_their_own() -> None:
    paths = {memo.path_of("/m", kind, subject) for kind in "ab" for subject in ("", "x", "y", "\udcff", "x" * 5000)}
    assert len(paths) == 10
    assert all(path.startswith(("/m/a/", "/m/b/")) for path in paths)


def replace(path: Path, content: bytes) -> None:
    draft = path.with_name("draft")
    draft.write_bytes(content)
    os.utime(draft, ns=(0, path.stat().st_mtime_ns))
    draft.rename(path)


def overwrite(path: Path, content: bytes) -> None:
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(0, before.st_mtime_ns))


def test_a_large_file_is_remembered_and_a_small_one_is_not(tmp_path: Path, store: Store) -> None:
    large, small = old(tmp_path / "large", b"x" * LARGE), old(tmp_path / "small", b"x" * memo.SMALL)
    for path in (large, small):
        assert memo.file_digest(str(path), store) == digest_bytes(path.read_bytes())
    assert memo_of(large, store).exists()
    assert not memo_of(small, store).exists()


def test_a_memo_that_holds_is_believed(tmp_path: Path, store: Store) -> None:
    path = old(tmp_path / "large", b"x" * LARGE)
    memo.file_digest(str(path), store)
    body = memo.read(str(memo_of(path, store))) or b""
    memo.write(str(memo_of(path, store)), body.partition(b"\n")[0] + b"\n" + b"f" * 64)
    assert memo.file_digest(str(path), store) == "f" * 64


@pytest.mark.parametrize("change", [replace, overwrite])
def test_a_file_of_other_content_but_the_same_size_and_time(
    tmp_path: Path, store: Store, change: Callable[[Path, bytes], None]
) -> None:
    path = old(tmp_path / "large", b"x" * LARGE)
    memo.file_digest(str(path), store)
    assert memo_of(path, store).exists()
    before = path.stat()
    change(path, b"y" * LARGE)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert memo.file_digest(str(path), store) == digest_bytes(b"y" * LARGE)


def test_a_file_that_was_written_just_now_is_not_remembered(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "large"
    for content in (b"x", b"y", b"z"):
        path.write_bytes(content * LARGE)
        assert memo.file_digest(str(path), store) == digest_bytes(content * LARGE)
        assert not memo_of(path, store).exists()


def state(mtime: int, ctime: int) -> os.stat_result:
    class State:
        st_mtime_ns = mtime
        st_ctime_ns = ctime

    return State()  # type: ignore[return-value]


SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND + 123_456_789


@pytest.mark.parametrize(
    "mtime, ctime, racy",
    [
        (NOW - SECOND, NOW - SECOND, False),
        (NOW - SECOND, NOW - 40_000_000, True),
        (NOW - 40_000_000, NOW - SECOND, True),
        (NOW - 60_000_000, NOW - 60_000_000, False),
        (NOW, NOW, True),
        (NOW + SECOND, NOW - SECOND, True),
        (NOW - SECOND, NOW + 3600 * SECOND, True),
        # whole seconds: the file system may keep no more of them
        (NOW // SECOND * SECOND - SECOND, NOW // SECOND * SECOND - SECOND, True),
        (NOW // SECOND * SECOND - 3 * SECOND, NOW // SECOND * SECOND - 3 * SECOND, False),
        (0, NOW // SECOND * SECOND, True),
    ],
)
def test_what_is_too_young_to_be_told_apart(mtime: int, ctime: int, racy: bool) -> None:
    assert memo.is_racy([state(mtime, ctime)], NOW) is racy
    assert memo.is_racy([state(0, 1), state(mtime, ctime), state(0, 1)], NOW) is racy


def test_nothing_is_old_enough() -> None:
    assert memo.is_racy([], NOW) is False


def test_the_file_clock_is_not_ahead_of_files(tmp_path: Path) -> None:
    """A file that is written after it was read has its time or a later one."""
    for number in range(50):
        before = memo.file_clock()
        path = tmp_path / str(number)
        path.write_bytes(b"x")
        assert path.stat().st_mtime_ns >= before


def test_each_change_of_a_file_changes_its_identity(tmp_path: Path) -> None:
    path = old(tmp_path / "file", b"one")
    seen = {memo.identity(path.stat())}
    for change in (lambda: path.write_bytes(b"more"), lambda: os.utime(path, (5, 5)), lambda: path.chmod(0o600)):
        time.sleep(0.015)
        change()
        seen.add(memo.identity(path.stat()))
    replace(path, b"more")
    seen.add(memo.identity(path.stat()))
    assert len(seen) == 5


def test_a_blobs_inode_is_known_by_its_blob(tmp_path: Path, store: Store) -> None:
    """Each new link moves the status change; the content is still the blob's."""
    content = b"b" * LARGE
    digest = store.put_bytes(content)
    linked = tmp_path / "linked"
    os.link(store.blob_path(digest), linked)
    assert memo.file_digest(str(linked), store) == digest
    before = memo_of(linked, store).read_bytes()
    os.link(linked, tmp_path / "another")
    assert memo.is_blob(linked.stat(), digest, store)
    assert memo.file_digest(str(linked), store) == digest
    assert memo_of(linked, store).read_bytes() == before, "it was hashed again"


def test_what_looks_like_a_blob_but_is_another_inode(tmp_path: Path, store: Store) -> None:
    digest = store.put_bytes(b"b" * LARGE)
    copy = tmp_path / "copy"
    copy.write_bytes(b"c" * LARGE)
    os.link(copy, tmp_path / "second")
    os.utime(copy, (BLOB_TIME, BLOB_TIME))
    assert not memo.is_blob(copy.stat(), digest, store)
    assert not memo.is_blob(copy.stat(), "0" * 64, store)
    assert memo.file_digest(str(copy), store) == digest_bytes(b"c" * LARGE)


def test_a_blobs_inode_under_another_digest_is_not_that_blob(tmp_path: Path, store: Store) -> None:
    """A memo that is true of the path's earlier content must not be believed of another blob put there."""
    first, second = store.put_bytes(b"1" * LARGE), store.put_bytes(b"2" * LARGE)
    path = tmp_path / "linked"
    for digest in (first, second, first):
        path.unlink(missing_ok=True)
        os.link(store.blob_path(digest), path)
        assert memo.file_digest(str(path), store) == digest


def test_a_file_that_is_not_there(tmp_path: Path, store: Store) -> None:
    with pytest.raises(OSError):
        memo.file_digest(str(tmp_path / "missing"), store)


@pytest.mark.parametrize("kind", ["device", "fifo", "directory"])
def test_what_is_no_file_has_no_digest(tmp_path: Path, kind: str) -> None:
    """An entry that came from elsewhere may name anything as an input; nobody reads /dev/zero to its end."""
    path = Path("/dev/zero") if kind == "device" else tmp_path / kind
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    with pytest.raises(OSError, match="no regular file"):
        memo.file_digest(str(path), Store(str(tmp_path / "cache")))
