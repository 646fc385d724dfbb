"""glob_walk: the files a pattern names on disk, links, mazes and forbidden places included."""

import os
from pathlib import Path
from typing import List

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kachelib import glob_walk, globs


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "t[r]ee"
    for name in ("a.sql", "b.txt", "m/1.sql", "m/2.sql", "m/deep/3.sql", "m/deep/x.txt", ".sqlx/q.json", "lib/lib"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def walk(pattern: str, base: Path) -> List[str]:
    return sorted(os.path.relpath(path, base) for path in glob_walk.walk(pattern, str(base)).files)


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("a.sql", ["a.sql"]),
        ("*.sql", ["a.sql"]),
        ("**/*.sql", ["a.sql", "m/1.sql", "m/2.sql", "m/deep/3.sql"]),
        ("m/**/*.sql", ["m/1.sql", "m/2.sql", "m/deep/3.sql"]),
        ("m", ["m/1.sql", "m/2.sql", "m/deep/3.sql", "m/deep/x.txt"]),
        ("m/", ["m/1.sql", "m/2.sql", "m/deep/3.sql", "m/deep/x.txt"]),
        ("m/*", ["m/1.sql", "m/2.sql"]),
        ("m/*/", ["m/deep/3.sql", "m/deep/x.txt"]),
        ("**/deep", ["m/deep/3.sql", "m/deep/x.txt"]),
        ("**/lib", ["lib/lib"]),
        (".sqlx", [".sqlx/q.json"]),
        ("{a,b}.*", ["a.sql", "b.txt"]),
        ("./m/../b.txt", ["b.txt"]),
        ("none", []),
        ("none/**", []),
        ("a.sql/**", []),
        ("m/none*", []),
    ],
)
def test_walk(pattern: str, files: List[str], tree: Path) -> None:
    assert walk(pattern, tree) == files
    absolute = globs.escape(str(tree)) + "/" + pattern
    assert walk(absolute, tree) == files


def test_what_lies_outside(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/x").write_text("")
    assert walk("../shared", tree) == ["../shared/x"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["**", "*", "m", "deep", "?.sql", "*.sql", "[0-9]*", "lib"]), min_size=1, max_size=4))
def test_agrees_with_matching_every_file(tree: Path, parts: List[str]) -> None:
    pattern = "/".join(parts)
    every = [os.path.relpath(os.path.join(top, name), tree) for top, _, names in os.walk(tree) for name in names]
    assert walk(pattern, tree) == sorted(path for path in every if globs.matches(pattern, path))


@pytest.mark.parametrize(
    ("pattern", "directories"),
    [
        ("m/**/*.sql", ["m", "m/deep"]),
        ("m/*.sql", ["m"]),
        ("m", ["m", "m/deep"]),
        ("none/x/*.sql", ["."]),
        ("m/none/*.sql", ["m"]),
        ("a.sql", []),
        ("none.sql", ["."]),
        ("m/deep/", ["m/deep"]),
    ],
)
def test_the_directories_in_which_a_file_may_appear(pattern: str, directories: List[str], tree: Path) -> None:
    found = glob_walk.walk(pattern, str(tree))
    assert sorted(os.path.relpath(path, tree) for path in found.directories) == directories


def test_links_are_followed_and_circles_are_not(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/s.sql").write_text("")
    (tree / "m/shared").symlink_to(tmp_path / "shared")
    (tree / "m/file.sql").symlink_to(tree / "a.sql")
    (tree / "m/gone.sql").symlink_to(tree / "nowhere")
    (tree / "m/self").symlink_to("self")
    (tree / "m/deep/up").symlink_to("..")
    (tree / "m/deep/here").symlink_to(".")
    files = ["m/1.sql", "m/2.sql", "m/deep/3.sql", "m/file.sql", "m/shared/s.sql"]
    assert walk("m/**/*.sql", tree) == files
    (tree / "n").symlink_to("m")
    assert walk("n/**/*.sql", tree) == [name.replace("m/", "n/", 1) for name in files]


def test_a_maze_of_links_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"d{number}" for number in range(9)]
    for name in names:
        (tmp_path / "maze" / name).mkdir(parents=True)
        for other in names:
            (tmp_path / "maze" / name / other).symlink_to(f"../{other}")
    monkeypatch.setattr(glob_walk, "MOST_VISITED", 5000)
    with pytest.raises(glob_walk.TooMany):
        glob_walk.walk("**/*", str(tmp_path / "maze"))


def test_pipes_and_sockets_are_no_files(tree: Path) -> None:
    os.mkfifo(tree / "m/pipe.sql")
    assert "m/pipe.sql" not in walk("m/*", tree)
    assert walk("m/pipe.sql", tree) == []


def test_names_that_are_not_utf8(tree: Path) -> None:
    Path(os.fsdecode(os.fsencode(tree) + b"/m/\xff.sql")).write_text("")
    assert "m/\udcff.sql" in walk("m/*.sql", tree)
    assert walk("m/\udcff.sql", tree) == ["m/\udcff.sql"]


def test_a_forbidden_directory_is_passed_over(tree: Path) -> None:
    (tree / "m/deep").chmod(0)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            base = tree
            if os.geteuid() == 0:  # root may read everything; anybody else cannot get at the test's directory
                os.chroot(tree)
                os.chdir("/")
                os.setuid(65534)
                base = Path("/")
            os.write(writing, repr(walk("m/**/*.sql", base)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as answer:
        assert answer.read() == repr(["m/1.sql", "m/2.sql"])
    os.waitpid(child, 0)
    (tree / "m/deep").chmod(0o755)


def test_the_whole_disk_is_noticed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glob_walk, "MOST_VISITED", 100_000)
    assert glob_walk.walk("/no-such-*", str(tree)).whole_disk
    assert not glob_walk.walk("/etc/no-such-*", str(tree)).whole_disk
    monkeypatch.setattr(glob_walk, "MOST_VISITED", 200)
    for pattern in ("/**", "/"):
        with pytest.raises(glob_walk.TooMany):
            glob_walk.walk(pattern, str(tree))
