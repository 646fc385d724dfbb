"""A hit: the same files, the same words, in this place; a missing piece is a miss."""

import os
import posix
import time
from pathlib import Path
from typing import Dict, List, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kachelib import collect, log, replay
from kachelib.action import Action
from kachelib.entry import Candidate, Output, Stream
from kachelib.events import Event
from kachelib.roots import REMAP_TARGETS, Roots
from kachelib.store import BLOB_TIME
from tests.actions import STEM, Place, compiled

RMETA, RLIB, DEPINFO = f"lib{STEM}.rmeta", f"lib{STEM}.rlib", f"{STEM}.d"
# No archive, but a head is all that is looked at.
FILES = {RMETA: b"metadata", RLIB: b"!<arch>\n"}
WARNING = b'{"$message_type":"diagnostic","rendered":"warning: unused\\n"}\n'


def stored(place: Place, *more: str, stderr: bytes = WARNING, files: Optional[Dict[str, bytes]] = None) -> Candidate:
    """Compile by hand and publish; the target is empty afterwards."""
    action = place.action(*more)
    collected = collect.collect(action, compiled(place, action, files or FILES, stderr=stderr), "", place.store)
    collect.publish(collected, action, place.store)
    for path in place.out.iterdir():
        path.unlink()
    return collected.candidate


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def restore(place: Place, candidate: Candidate, action: Optional[Action] = None) -> Event:
    event = Event()
    assert replay.restore(candidate, action or place.action(), place.store, event)
    return event


# Files


def test_a_hit_leaves_what_the_compile_left(place: Place) -> None:
    action = place.action()
    collected = collect.collect(action, compiled(place, action, FILES), "", place.store)
    collect.publish(collected, action, place.store)
    before = {path.name: path.read_bytes() for path in place.out.iterdir()}
    for path in place.out.iterdir():
        path.unlink()
    event = restore(place, collected.candidate)
    assert {path.name: path.read_bytes() for path in place.out.iterdir()} == before
    assert event.copied_bytes + event.hardlinked_bytes + event.reflinked_bytes == sum(map(len, FILES.values()))


def test_the_newest_output_is_new_and_no_blob_is_stamped(place: Place) -> None:
    """Cargo goes by the newest output; other worktrees share the library's inode."""
    candidate = stored(place)
    before = time.time() - 1
    restore(place, candidate)
    assert (place.out / RMETA).stat().st_mtime > before
    assert (place.out / RMETA).stat().st_nlink == 1
    assert (place.out / RMETA).stat().st_mode & 0o200
    blobs = list((Path(place.store.root) / "store").glob("*/*"))
    assert {path.stat().st_mtime for path in blobs} == {BLOB_TIME}


def test_a_library_alone_is_a_private_and_new_file(place: Place) -> None:
    emit = "dep-info,link"
    action = place.action(emit=emit)
    finished = compiled(place, action, {RLIB: FILES[RLIB]})
    collected = collect.collect(action, finished, "", place.store)
    collect.publish(collected, action, place.store)
    before = time.time() - 1
    restore(place, collected.candidate, action)
    state = (place.out / RLIB).stat()
    assert state.st_nlink == 1 and state.st_mtime > before


def test_what_stood_there_is_replaced_and_never_written_into(place: Place, tmp_path: Path) -> None:
    candidate = stored(place)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    os.link(elsewhere, place.out / RLIB)
    os.symlink(elsewhere, place.out / RMETA)
    (place.out / DEPINFO).write_bytes(b"old")
    (place.out / DEPINFO).chmod(0o444)
    restore(place, candidate)
    assert elsewhere.read_bytes() == b"precious"
    assert not (place.out / RMETA).is_symlink()
    assert (place.out / RLIB).read_bytes() == FILES[RLIB]
    assert (place.out / DEPINFO).read_bytes().startswith(str(place.out).encode())


def test_an_executable_comes_back_as_one(place: Place) -> None:
    candidate = stored(place)
    digest = place.store.put_bytes(b"\x7fELF")
    candidate.outputs.append(Output("x-1", "link", digest, 4, True))
    restore(place, candidate)
    assert os.access(place.out / "x-1", os.X_OK)
    assert not os.access(place.out / RMETA, os.X_OK)
    assert (place.out / "x-1").stat().st_nlink == 1


@pytest.mark.parametrize("name", [RMETA, RLIB, DEPINFO])
@pytest.mark.parametrize("how", ["gone", "cut", "longer"])
def test_a_blob_that_is_not_whole_is_a_miss(name: str, how: str, place: Place) -> None:
    candidate = stored(place)
    digest = {output.name: output.digest for output in candidate.outputs}[name]
    blob = Path(place.store.blob_path(digest))
    data = blob.read_bytes()
    blob.unlink()
    if how != "gone":
        blob.write_bytes(data[:-1] if how == "cut" else data + b"x")
    assert not replay.restore(candidate, place.action(), place.store, Event())
    assert list(place.out.iterdir()) == [], "all or nothing"


def test_a_dep_info_of_the_same_size_with_other_bytes_is_a_miss(place: Place) -> None:
    candidate = stored(place)
    blob = Path(place.store.blob_path(candidate.outputs[0].digest))
    data = blob.read_bytes()
    blob.chmod(0o644)
    blob.write_bytes(data[:-2] + b"!" + data[-1:])
    assert not replay.restore(candidate, place.action(), place.store, Event())


def test_the_output_directory_is_made(place: Place) -> None:
    candidate = stored(place)
    out = place.target / "release/deep/deps"
    restore(place, candidate, place.action(out=str(out)))
    assert (out / RLIB).read_bytes() == FILES[RLIB]


def test_dep_info_names_this_place_and_its_values(place: Place, tmp_path: Path) -> None:
    action = place.action()
    finished = compiled(place, action, FILES, variables={"HERE": "one", "NEVER": None})
    collected = collect.collect(action, finished, "", place.store)
    collect.publish(collected, action, place.store)
    other = Place(tmp_path / "with a space", name="there", home="h")
    other.environ["HERE"] = "o\\n\ne"
    other.store = place.store
    event = Event()
    assert replay.restore(collected.candidate, other.action(), place.store, event)
    text = (other.out / DEPINFO).read_text()
    assert str(place.directory) not in text
    assert text.startswith(f"{other.out}/{DEPINFO}: src/lib.rs src/foo.rs\n")
    assert text.endswith("# env-dep:HERE=o\\\\n\\ne\n# env-dep:NEVER\n")


def test_declared_inputs_are_named_for_cargo(place: Place) -> None:
    place.write("data/a b.sql", "x")
    place.write("kache.toml", "extra_inputs = ['data/*']\n")
    candidate = stored(place)
    restore(place, candidate)
    first = (place.out / DEPINFO).read_text().splitlines()[0]
    escaped = str(place.directory / "data/a b.sql").replace(" ", "\\ ")
    assert first.endswith(f" {place.directory}/kache.toml {escaped} {place.directory}/data")


# Words


@pytest.mark.parametrize("size", [1, 50_000])
def test_a_hit_says_what_the_compiler_said(size: int, place: Place, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Also where it was so much that it is a blob; notifications name the directory asked for now."""
    candidate = stored(place, stderr=WARNING * size)
    assert replay.say(candidate, place.action(out=str(place.target / "other")), place.store)
    printed, errors = capfdbinary.readouterr()
    assert printed == b""
    lines = errors.splitlines(True)
    assert lines[0] == b'{"$message_type":"artifact","artifact":"%b/other/%b","emit":"metadata"}\n' % (
        str(place.target).encode(),
        RMETA.encode(),
    )
    assert lines[2:] == [WARNING] * size
    assert str(place.out).encode() not in errors


@pytest.mark.parametrize(
    "first", ["target/debug/deps", "target/debug/deps/", "./target/debug/deps", '{ws}/a "b"\\c', "{ws}/é"]
)
@pytest.mark.parametrize("second", ["target/debug/deps", "{ws}/target/elsewhere/"])
def test_notifications_name_the_directory_as_it_is_given(
    first: str, second: str, place: Place, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """rustc says it as it was told, without a slash at its end."""

    def notification(out: str) -> bytes:
        escaped = out.rstrip("/").replace("\\", "\\\\").replace('"', '\\"')
        return f'{{"$message_type":"artifact","artifact":"{escaped}/{RMETA}","emit":"metadata"}}\n'.encode()

    first, second = (name.format(ws=place.directory) for name in (first, second))
    (place.directory / first).mkdir(parents=True, exist_ok=True)
    action = place.unbuilt([word if word != "OUT" else first for word in place.arguments(out="OUT")])
    candidate = Candidate()
    candidate.stderr = Stream(data=replay.template(notification(first), action.plan.out_dir))
    there = place.unbuilt([word if word != "OUT" else second for word in place.arguments(out="OUT")])
    assert replay.say(candidate, there, place.store)
    assert capfdbinary.readouterr().err == notification(second)


def test_words_that_are_gone_are_a_miss(place: Place, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    candidate = stored(place, stderr=b"x" * 50_000)
    Path(place.store.blob_path(candidate.stderr.digest)).unlink()
    assert not replay.say(candidate, place.action(), place.store)
    assert capfdbinary.readouterr() == (b"", b"")


def test_remapped_names_are_paths_again(place: Place) -> None:
    roots = place.action().roots
    for name, target in REMAP_TARGETS.items():
        here = roots.by_name.get(name)
        for before in (b"\n  --> ", b'"file_name":"', b"\n ::: ", b"--> \\u001b[0m\\u001b[1m", b"--> \x1b[1;34m"):
            text = before + target.encode() + b"/src/lib.rs:1:2"
            expected = text if here is None else before + here.encode() + b"/src/lib.rs:1:2"
            assert replay.localise(text, roots) == expected
    untouched = b'/proc/self/cwdx "/proc/self/cwd/x" | /kache/target/x \x1b[1m/kache/home/x src/lib.rs'
    assert replay.localise(untouched, roots) == untouched


@pytest.mark.parametrize("inside", ["/home/me", "/ws/x.y", "/w_", "/a-", "relative", "/proc/1"])
def test_a_directory_that_is_called_like_a_remapped_one_is_left_alone(inside: str) -> None:
    for name, target in REMAP_TARGETS.items():
        roots = Roots({name: inside + target}, True, False)
        text = f'{{"artifact":"{inside}{target}/debug/deps/libx.rmeta"}}'.encode()
        assert replay.localise(text, roots) == text


def test_a_path_that_json_would_escape_is_escaped() -> None:
    roots = Roots({"package": '/a "b"\\c'}, False, False)
    assert replay.localise(b'"file_name":"/kache/package/x"', roots) == b'"file_name":"/a \\"b\\"\\\\c/x"'


@given(
    st.lists(
        st.sampled_from((b"/kache/target/", b"/kache/home/", b"/proc/self/cwd/", b"x", b" ", b'"', b"\n")), max_size=12
    )
)
def test_no_more_than_names_changes(pieces: List[bytes]) -> None:
    """Every other byte stays, in its order."""
    roots = Roots({"target": "/T", "home": "/H", "workspace": "/W"}, True, False)
    out = replay.localise(b"".join(pieces), roots)
    for target, value in ((b"/kache/target/", b"/T/"), (b"/kache/home/", b"/H/"), (b"/proc/self/cwd/", b"/W/")):
        out = out.replace(value, target)
    assert out == b"".join(pieces)


# The width of diagnostics


@pytest.mark.parametrize(
    ("layout", "width", "suits"),
    [
        ("", None, True),
        ("", 1, True),
        ("=80", 80, True),
        ("=80", 81, False),
        ("=80", None, False),
        ("=140", None, True),
        ("+60", None, True),
        ("+60", 80, True),
        ("+60", 79, False),
        ("+60", 1000, True),
        ("+130", None, False),
    ],
)
def test_diagnostics_come_back_where_they_would_be_laid_out_the_same(
    layout: str, width: Optional[int], suits: bool, place: Place
) -> None:
    words = [] if width is None else [f"--diagnostic-width={width}"]
    assert replay.suits(layout, place.action(*words).plan) == suits


def test_the_last_width_counts(place: Place) -> None:
    words = ("--diagnostic-width", "80", "--diagnostic-width=90")
    assert replay.diagnostic_width(place.action(*words).plan) == 90


# Writing


def test_what_nobody_reads_any_more_is_dropped() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    log.write_all(writer, b"x" * 1_000_000)
    os.close(writer)
    log.write_all(writer, b"closed")


def test_a_slow_reader_of_a_pipe_that_does_not_block_gets_all(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    pid = posix.fork()
    if pid == 0:
        posix.close(writer)
        total = 0
        data = posix.read(reader, 65536)
        while data:
            total += len(data)
            time.sleep(0.001)
            data = posix.read(reader, 65536)
        (tmp_path / "total").write_text(str(total))
        posix._exit(0)
    posix.close(reader)
    log.write_all(writer, b"x" * 1_000_000)
    posix.close(writer)
    posix.waitpid(pid, 0)
    assert (tmp_path / "total").read_text() == "1000000"
