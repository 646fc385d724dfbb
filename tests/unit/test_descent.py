"""A descent goes through no link, and comes back only to where it was."""

import os
from pathlib import Path

import pytest

from kachelib.descent import Descent, Moved, pass_to
from tests.targets import write
from tests.world import World


@pytest.fixture
def tree(world: World) -> Path:
    write(world.root / "top", {"a/b/c/file": "", "other/file": ""})
    return world.root / "top"


def test_down_and_up_with_one_descriptor_however_deep(tree: Path) -> None:
    # more than there may be descriptors, or frames of Python
    depth = 1200
    fd = os.open(tree, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    with Descent(str(tree)) as walk:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(depth):
            walk.enter("d")
        assert len(os.listdir("/proc/self/fd")) == before
        assert len(walk.path()) > 2 * depth
        for _ in range(depth):
            assert walk.leave() == "d"
        assert sorted(walk.list_names()) == ["a", "d", "other"]
        # or nobody can clear this away
        _remove_deep(walk, depth)


def _remove_deep(walk: Descent, depth: int) -> None:
    for _ in range(depth):
        walk.enter("d")
    for _ in range(depth):
        os.rmdir(walk.leave(), dir_fd=walk.fd)


def test_a_link_is_refused_at_every_place(tree: Path) -> None:
    (tree / "link").symlink_to("a")
    with Descent(str(tree)) as walk:
        with pytest.raises(OSError):
            walk.enter("link")
        assert walk.names == [] and "link" in walk.list_names()
    for path in (tree / "link", tree / "link" / "b"):
        with pytest.raises(OSError):
            Descent(str(path))
        with pytest.raises(OSError):
            pass_to(str(path))


def test_what_was_moved_is_not_left_to_another_place(tree: Path) -> None:
    with Descent(str(tree)) as walk:
        walk.enter("a")
        walk.enter("b")
        (tree / "a" / "b").rename(tree / "other" / "b")
        with pytest.raises(Moved):
            walk.leave()


def test_a_directory_that_was_deleted_is_left_all_the_same(tree: Path) -> None:
    with Descent(str(tree)) as walk:
        walk.enter("a")
        (tree / "a" / "b" / "c" / "file").unlink()
        for name in ("b/c", "b"):
            (tree / "a" / name).rmdir()
        assert walk.leave() == "a"


def test_paths_are_for_people(tree: Path) -> None:
    with Descent(str(tree)) as walk:
        walk.enter("a")
        assert walk.path() == f"{tree}/a" and walk.path("b") == f"{tree}/a/b"
    with Descent("/") as walk:
        assert walk.path() == "/" and walk.path("etc") == "/etc"
