"""Recorded inputs: every single change is found, at once and behind every memo; what is no change is none."""

import os
import posix
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Callable, Dict, Iterator, List

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kachelib import inputs
from kachelib.action import Action
from kachelib.entry import ABSENT, Candidate, EnvDep, Input
from kachelib.store import digest_file
from tests.actions import Place, grow_old
from tests.conftest import missing

FILES = {
    "Cargo.toml": "[package]\nname = 'x'\n",
    "src/lib.rs": "mod foo; mod deep;\n",
    "src/foo.rs": "pub fn one() {}\n",
    "src/deep/mod.rs": "mod er;\n",
    "src/deep/er.rs": 'include_str!("word.txt");\n',
    "src/deep/word.txt": "word",
    "big.bin": "b" * 40_000,
}
READ = ("src/lib.rs", "src/foo.rs", "src/deep/mod.rs", "src/deep/er.rs", "src/deep/word.txt", "big.bin")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path, FILES)
    place.environ.update(READ_HERE="value", OUT_DIR=str(place.target / "debug/build/x-1/out"))
    (place.target / "debug/build/x-1/out").mkdir(parents=True)
    return place


@pytest.fixture
def recorded(place: Place) -> Candidate:
    """A candidate that read sources, files and variables, and is bound to the workspace."""
    action = place.action()
    candidate = place.candidate(action, *READ)
    candidate.inputs.append(Input(ABSENT, "<workspace>/lib/libfoo.so", ""))
    candidate.env_deps = [
        EnvDep("READ_HERE", "=", "value"),
        EnvDep("OUT_DIR", "~", "<target>/debug/build/x-1/out"),
        EnvDep("NEVER_SET", "-", ""),
    ]
    candidate.bindings = [("workspace", str(place.directory))]
    candidate.needs = [str(place.write("needed", ""))]
    candidate.cache_key = candidate.compute_cache_key(action.key)
    return candidate


def look(place: Place, candidate: Candidate, fingerprint: str = "", **more: str) -> str:
    """What is different now; with ``more`` in the environment."""
    action = place.action(environ={**place.environ, **more})
    return inputs.difference(candidate, action, fingerprint, place.store)


# The changes that a candidate must notice

Change = Callable[[Place], None]


def rewrite(relative: str, text: str) -> Change:
    def change(place: Place) -> None:
        place.write(relative, text)

    return change


def same_size(relative: str) -> Change:
    """Other bytes, as many, and the modification time put back."""

    def change(place: Place) -> None:
        path = place.directory / relative
        before = path.stat()
        path.write_bytes(path.read_bytes()[:-1] + b"!")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    return change


def replace(relative: str) -> Change:
    """Another file of the same size and time renamed over it."""

    def change(place: Place) -> None:
        path = place.directory / relative
        before = path.stat()
        other = place.directory / "other"
        other.write_bytes(path.read_bytes()[:-1] + b"!")
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        os.rename(other, path)

    return change


def remove(relative: str) -> Change:
    return lambda place: os.unlink(place.directory / relative)


def swap(one: str, two: str) -> Change:
    """Two files change places: the same contents, under the other's name."""

    def change(place: Place) -> None:
        os.rename(place.directory / one, place.directory / "aside")
        os.rename(place.directory / two, place.directory / one)
        os.rename(place.directory / "aside", place.directory / two)

    return change


def make(relative: str) -> Change:
    def change(place: Place) -> None:
        (place.directory / relative).mkdir(parents=True)

    return change


def to_directory(relative: str) -> Change:
    def change(place: Place) -> None:
        os.unlink(place.directory / relative)
        (place.directory / relative).mkdir()

    return change


CHANGES: Dict[str, Change] = {
    "a source grew": rewrite("src/lib.rs", "mod foo; mod deep; // more\n"),
    "a source of the same size": same_size("src/foo.rs"),
    "a source replaced": replace("src/deep/er.rs"),
    "a source is gone": remove("src/deep/er.rs"),
    "a source became a directory": to_directory("src/foo.rs"),
    "two sources swapped": swap("src/foo.rs", "src/deep/er.rs"),
    "a small file": same_size("src/deep/word.txt"),
    "a large file": same_size("big.bin"),
    "a large file replaced": replace("big.bin"),
    "a file is gone": remove("big.bin"),
    "mod.rs beside a file": rewrite("src/foo/mod.rs", ""),
    "a file beside mod.rs": rewrite("src/deep.rs", ""),
    "a file beside mod.rs, deeper": rewrite("src/deep/er/mod.rs", ""),
    "what was looked for appeared": rewrite("lib/libfoo.so", ""),
    "what it needs is gone": remove("needed"),
}
# For a rival to appear where no recorded file lies, its directory must have been there.
DIRECTORIES_BEFORE = ("src/foo", "src/deep/er", "lib")


@pytest.mark.parametrize("remembered", [False, True], ids=["first look", "behind memos"])
@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_found(name: str, remembered: bool, place: Place, recorded: Candidate) -> None:
    for directory in DIRECTORIES_BEFORE:
        (place.directory / directory).mkdir(exist_ok=True)
    if remembered:
        grow_old()
        assert look(place, recorded) == ""
        assert look(place, recorded) == ""
        assert (Path(place.store.memo_dir()) / "inputs").is_dir()
    CHANGES[name](place)
    assert look(place, recorded) != ""
    assert look(place, recorded) != "", "and it stays found"


def test_nothing_else_is_a_change(place: Place, recorded: Candidate) -> None:
    assert look(place, recorded) == ""
    place.write("src/unread.rs", "")
    place.write("README.md", "")
    os.utime(place.directory / "src/lib.rs")
    os.chmod(place.directory / "src/foo.rs", 0o600)
    place.write("big.bin", FILES["big.bin"])
    assert look(place, recorded, UNREAD="1", CARGO_PKG_NAME="x") == ""


def test_a_change_taken_back_is_a_hit_again(place: Place, recorded: Candidate) -> None:
    for name in READ:
        text = (place.directory / name).read_text()
        place.write(name, text + "//")
        assert look(place, recorded) != ""
        place.write(name, text)
        assert look(place, recorded) == ""


def test_a_rewrite_in_the_same_tick_is_found(place: Place, recorded: Candidate) -> None:
    """As fast as it goes: a look between two writes of the same size must not hide the second."""
    for relative in ("src/foo.rs", "big.bin"):
        good = (place.directory / relative).read_bytes()
        for _ in range(40):
            (place.directory / relative).write_bytes(good)
            assert look(place, recorded) == ""
            (place.directory / relative).write_bytes(good[:-1] + b"!")
            assert look(place, recorded) != ""
        (place.directory / relative).write_bytes(good)


def test_what_was_written_just_now_is_not_remembered(place: Place, recorded: Candidate) -> None:
    memos = Path(place.store.memo_dir()) / "inputs"
    place.write("src/foo.rs", FILES["src/foo.rs"])
    assert look(place, recorded) == ""
    assert not memos.exists()
    grow_old()
    assert look(place, recorded) == ""
    assert memos.exists()


def test_a_memo_is_of_one_candidate_in_one_place(place: Place, recorded: Candidate, tmp_path: Path) -> None:
    """Another candidate with the same files, of which one has another content, is not hidden by the first's memo."""
    grow_old()
    assert look(place, recorded) == ""
    other = place.candidate(place.action(), *READ)
    other.inputs[0].digest = "0" * 64
    other.cache_key = other.compute_cache_key("another")
    assert look(place, other) != ""


def test_a_damaged_memo_is_none(place: Place, recorded: Candidate) -> None:
    grow_old()
    assert look(place, recorded) == ""
    for path in (Path(place.store.memo_dir()) / "inputs").glob("*/*"):
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert look(place, recorded) == ""
    CHANGES["a source of the same size"](place)
    assert look(place, recorded) != ""


# Variables


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("READ_HERE", "other"),
        ("READ_HERE", ""),
        ("READ_HERE", "Value"),
        ("READ_HERE", "value "),
        ("NEVER_SET", ""),
        ("NEVER_SET", "1"),
        ("OUT_DIR", "/elsewhere/debug/build/x-1/out"),
        ("OUT_DIR", ""),
    ],
)
def test_every_other_value_of_a_variable_is_found(name: str, value: str, place: Place, recorded: Candidate) -> None:
    assert look(place, recorded) == ""
    assert look(place, recorded, **{name: value}) == f"environment variable {name} differs"


@pytest.mark.parametrize("name", ["READ_HERE", "OUT_DIR"])
def test_a_variable_that_went_away_is_found(name: str, place: Place, recorded: Candidate) -> None:
    del place.environ[name]
    assert look(place, recorded) == f"environment variable {name} differs"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.one_of(st.none(), st.text("a<>/\n= ", max_size=3)),
    after=st.one_of(st.none(), st.text("a<>/\n= ", max_size=3)),
)
def test_a_variable_is_the_same_exactly_when_it_is(place: Place, before: "str | None", after: "str | None") -> None:
    action = place.action(environ={**place.environ, **({} if after is None else {"V": after})})
    candidate = place.candidate(action)
    candidate.env_deps = [EnvDep("V", "-", "") if before is None else EnvDep("V", "=", before)]
    assert (inputs.difference(candidate, action, "", place.store) == "") == (before == after)


# Places


def elsewhere(place: Place, tmp_path: Path) -> Place:
    """The same sources in another checkout, with another home."""
    other = Place(tmp_path / "else/where", FILES, name="checkout", home="h")
    other.environ.update(READ_HERE="value", OUT_DIR=str(other.target / "debug/build/x-1/out"))
    return other


def test_a_portable_candidate_is_a_hit_elsewhere(place: Place, recorded: Candidate, tmp_path: Path) -> None:
    recorded.bindings = []
    other = elsewhere(place, tmp_path)
    assert look(other, recorded) == ""
    place.write("src/foo.rs", "changed in the first checkout only")
    assert look(other, recorded) == ""
    assert look(place, recorded) != ""


def test_a_bound_candidate_is_none_elsewhere(place: Place, recorded: Candidate, tmp_path: Path) -> None:
    assert "workspace" in look(elsewhere(place, tmp_path), recorded)
    recorded.bindings = [("no-such-root", "/x")]
    assert look(place, recorded) != ""


def test_an_input_below_a_root_that_is_not_known_here_is_none(place: Place, recorded: Candidate) -> None:
    recorded.inputs.append(Input("f", "<package>/data", "0" * 64))
    assert look(place, recorded) == "<package>/data is not known here"


def test_another_fingerprint_is_a_difference(place: Place, recorded: Candidate) -> None:
    assert look(place, recorded, fingerprint="1" * 64) == "a file of the package differs"
    recorded.fingerprint = "1" * 64
    assert look(place, recorded) == "a file of the package differs"
    assert look(place, recorded, fingerprint="1" * 64) == ""


def test_a_restored_library_is_known_by_its_inode(place: Place) -> None:
    """Each new link of a blob moves its ctime; its content never changes, so it is not read again."""
    data = b"r" * 50_000
    digest = place.store.put_bytes(data)
    os.link(place.store.blob_path(digest), place.directory / "lib.rlib")
    candidate = place.candidate(place.action(), "src/lib.rs")
    candidate.inputs.append(Input("f", "<workspace>/lib.rlib", digest))
    assert look(place, candidate) == ""
    candidate.inputs[-1].digest = "0" * 64
    assert look(place, candidate) != ""


def test_a_registry_package_has_no_rivals_to_look_for(place: Place) -> None:
    """Cargo never changes it, so what lies there was there when it was compiled."""
    package = place.home / ".cargo/registry/src/index/x-0.1.0"
    for name in ("src/lib.rs", "src/lib/mod.rs"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("")
    action = place.action(source=str(package / "src/lib.rs"), cwd=str(package))
    candidate = Candidate()
    candidate.inputs = [
        Input("s", action.roots.normalise(str(package / "src/lib.rs")), digest_file(str(package / "src/lib.rs")))
    ]
    assert inputs.difference(candidate, action, "", place.store) == ""
    (package / "src/lib.rs").write_text("by hand all the same")
    assert inputs.difference(candidate, action, "", place.store) != ""


# The package fingerprint


def fingerprint(place: Place) -> str:
    return inputs.package_fingerprint(macro_action(place), place.store)


def macro_action(place: Place) -> Action:
    """A unit that a proc macro may reach."""
    return place.action(*place.extern("mac"))


@pytest.fixture
def package(tmp_path: Path) -> Place:
    return Place(tmp_path, {**FILES, "migrations/1.sql": "create", "templates/deep/a.html": "<p>", "README.md": "#"})


COUNTS: Dict[str, Change] = {
    "an empty directory": make("empty/er"),
    "a new file": rewrite("migrations/2.sql", ""),
    "a new directory with a file": rewrite("a/b/c", ""),
    "a new Rust source, by name": rewrite("src/new.rs", ""),
    "content": rewrite("migrations/1.sql", "drop"),
    "content of the same size": same_size("templates/deep/a.html"),
    "gone": remove("migrations/1.sql"),
    "the manifest": rewrite("Cargo.toml", "[package]\n"),
    "swapped": swap("migrations/1.sql", "templates/deep/a.html"),
    "a hidden file": rewrite(".env", "A=1"),
    "*.md below the root": rewrite("docs/guide.md", ""),
    "LICENSE below the root": rewrite("docs/LICENSE", ""),
    "a directory that is called like version control but is not": rewrite(".github/x.yml", ""),
    "a directory called target that Cargo did not make": rewrite("templates/target/x", ""),
}
COUNTS_NOT: Dict[str, Change] = {
    "content of a Rust source": rewrite("src/foo.rs", "changed"),
    "*.md at the root": rewrite("README.md", "changed"),
    "a new *.md at the root": rewrite("CHANGELOG.md", ""),
    "LICENSE* at the root": rewrite("LICENSE-MIT", ""),
    "git": rewrite(".git/HEAD", "ref"),
    "git, deeper": rewrite("templates/.git/HEAD", "ref"),
    "jj": rewrite(".jj/x", ""),
    "hg": rewrite(".hg/x", ""),
    "svn": rewrite("templates/.svn/x", ""),
    "this target directory": rewrite("target/debug/new", ""),
    "times": lambda place: os.utime(place.directory / "migrations/1.sql", (1, 1)),
    "a mode": lambda place: os.chmod(place.directory / "migrations/1.sql", 0o600),
}


@pytest.mark.parametrize("remembered", [False, True], ids=["first look", "behind memos"])
@pytest.mark.parametrize("name", COUNTS)
def test_what_a_macro_may_see_changes_the_fingerprint(name: str, remembered: bool, package: Place) -> None:
    if remembered:
        grow_old()
    before = fingerprint(package)
    assert fingerprint(package) == before
    assert (Path(package.store.memo_dir()) / "package").exists() == remembered
    COUNTS[name](package)
    assert fingerprint(package) != before


@pytest.mark.parametrize("remembered", [False, True], ids=["first look", "behind memos"])
@pytest.mark.parametrize("name", COUNTS_NOT)
def test_what_no_macro_should_read_does_not(name: str, remembered: bool, package: Place) -> None:
    if remembered:
        grow_old()
    before = fingerprint(package)
    COUNTS_NOT[name](package)
    assert fingerprint(package) == before


@pytest.mark.parametrize("marker", ["Cargo.toml", "CACHEDIR.TAG"])
def test_nested_packages_and_other_targets_are_not_part_of_it(marker: str, package: Place) -> None:
    package.write("inner/data", "one")
    before = fingerprint(package)
    package.write(f"inner/{marker}", "")
    without = fingerprint(package)
    assert without != before
    package.write("inner/data", "two")
    package.write("inner/deep/new", "")
    assert fingerprint(package) == without


def test_the_fingerprint_is_the_same_in_another_checkout(tmp_path: Path) -> None:
    files = {**FILES, "a/b.txt": "1", "c.txt": "2", ".hidden/d": "3"}
    first = Place(tmp_path / "one", files)
    second = Place(tmp_path / "two", dict(reversed(list(files.items()))), name="other", home="elsewhere")
    assert fingerprint(first) == fingerprint(second) != ""


def test_the_order_of_listing_does_not_count(package: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        package.write(f"many/{number}", str(number))
    for name in ("a", "z"):
        # of two ways to one directory, everybody takes the same
        os.symlink("many", package.directory / name)
    before = fingerprint(package)

    def backwards(path: str) -> List[str]:
        return sorted(os.listdir(path), reverse=True)

    monkeypatch.setattr(posix, "listdir", backwards)
    assert fingerprint(package) == before


def test_units_without_a_macro_carry_none(package: Place) -> None:
    assert inputs.package_fingerprint(package.action(), package.store) == ""
    assert not (Path(package.store.memo_dir()) / "package").exists()


def test_links_are_followed_once(package: Place, tmp_path: Path) -> None:
    """Into a loop, to a file outside, to a directory outside, to nowhere."""
    (tmp_path / "outside/deep").mkdir(parents=True)
    (tmp_path / "outside/deep/word").write_text("one")
    os.symlink(".", package.directory / "itself")
    os.symlink("..", package.directory / "templates/up")
    os.symlink(tmp_path / "outside", package.directory / "linked")
    os.symlink(tmp_path / "outside/deep/word", package.directory / "file")
    os.symlink("nowhere", package.directory / "dangling")
    before = fingerprint(package)
    (tmp_path / "outside/deep/word").write_text("two")
    after = fingerprint(package)
    assert after != before
    os.unlink(package.directory / "dangling")
    assert fingerprint(package) != after


def test_what_is_no_file_counts_by_name_and_is_not_opened(package: Place) -> None:
    before = fingerprint(package)
    os.mkfifo(package.directory / "fifo")
    after = fingerprint(package)
    assert after != before
    server = socket.socket(socket.AF_UNIX)
    directory = os.open(package.directory, os.O_RDONLY)
    try:
        server.bind(f"/proc/self/fd/{directory}/socket")
    finally:
        os.close(directory)
        server.close()
    assert fingerprint(package) != after


def test_names_and_contents_are_framed(package: Place) -> None:
    seen = set()
    for name, text in (("ab", "c"), ("a", "bc"), ("a\nb", "c"), ("\udc80", "c"), ("abc", "")):
        path = package.write("odd/" + name, text)
        seen.add(fingerprint(package))
        path.unlink()
    assert len(seen) == 5
    package.write("a.rs", "")
    package.write("b.rs", "")
    two = fingerprint(package)
    (package.directory / "a.rs").unlink()
    (package.directory / "b.rs").unlink()
    package.write("a.rsb.rs", "")
    assert fingerprint(package) != two


def test_a_large_package_goes_by_names_and_sizes(package: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert inputs.MOST_FILES == 5_000
    monkeypatch.setattr(inputs, "MOST_FILES", 20)
    for number in range(20):
        package.write(f"migrations/more/{number}", "")
    assert inputs.is_large(str(package.directory), str(package.target))
    before = fingerprint(package)
    same_size("migrations/1.sql")(package)
    assert fingerprint(package) == before
    package.write("migrations/1.sql", "another size")
    after = fingerprint(package)
    assert after != before
    package.write("migrations/new", "")
    assert fingerprint(package) != after


def test_a_package_of_many_bytes_is_large_and_is_not_read(package: Place) -> None:
    path = package.write("sparse", "")
    os.truncate(path, inputs.MOST_BYTES)
    assert inputs.is_large(str(package.directory), "")
    before = fingerprint(package)
    os.truncate(path, inputs.MOST_BYTES + 1)
    assert fingerprint(package) != before


def test_an_ordinary_package_is_not_large(package: Place) -> None:
    assert not inputs.is_large(str(package.directory), str(package.target))


def test_what_the_build_script_left_counts_whole(package: Place) -> None:
    """A macro may read OUT_DIR; there is nothing there that could be left out."""
    out = package.target / "debug/build/x-1/out"
    out.mkdir(parents=True)
    package.environ["OUT_DIR"] = str(out)
    seen = [fingerprint(package)]
    for name in ("bindings.rs", "README.md", "Cargo.toml", ".git/HEAD", "deep/data"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("one")
        seen.append(fingerprint(package))
    (out / "deep/data").write_text("two")
    seen.append(fingerprint(package))
    assert len(set(seen)) == len(seen)


@pytest.fixture
def mounts(package: Place) -> Iterator[List[Path]]:
    """Two file systems inside the package, whose roots have the same inode number."""
    paths = [package.directory / "one", package.directory / "two"]
    mounted = []
    try:
        for path in paths:
            path.mkdir()
            done = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(path)], capture_output=True, check=False
            )
            if done.returncode:
                missing("the right to mount a file system")
            mounted.append(path)
        yield paths
    finally:
        for path in mounted:
            subprocess.run(["umount", "-l", str(path)], check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux's")
def test_two_file_systems_in_one_package_are_both_looked_at(package: Place, mounts: List[Path]) -> None:
    assert mounts[0].stat().st_ino == mounts[1].stat().st_ino
    seen = {fingerprint(package)}
    for path in mounts:
        (path / "new").write_text("")
        seen.add(fingerprint(package))
    assert len(seen) == 3


def test_a_package_that_changes_while_it_is_read_is_not_remembered_wrong(package: Place) -> None:
    """Someone writes all the time; the last word must be the fingerprint of what is there at the end."""
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            package.write("migrations/1.sql", "aaaaaa")
            package.write("migrations/1.sql", "bbbbbb")

    thread = threading.Thread(target=write)
    thread.start()
    for _ in range(20):
        fingerprint(package)
    stop.set()
    thread.join()
    package.write("migrations/1.sql", "cccccc")
    last = fingerprint(package)
    package.store.root += "-without-memos"
    assert fingerprint(package) == last
