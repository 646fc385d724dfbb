"""Snapshots and plans: what goes in comes out, what is damaged is not there, placeholders stand for roots alone."""

from pathlib import Path
from typing import Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kachelib import units, warm
from kachelib.entry import Input
from kachelib.roots import Roots
from kachelib.store import Store
from kachelib.units import COPY, DIRECTORY, LINK, NAME, RAW, TEXT, WATCHED, File, Plan, Requirement, Snapshot
from tests.world import World

# Anything that a path or a variable can hold.
field = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)
word = st.text("abcdefghijklmnopqrstuvwxyz-_0123456789", min_size=1, max_size=12)
digest = st.text("0123456789abcdef", min_size=64, max_size=64)
contents = st.binary(max_size=200)


@st.composite
def files(draw: st.DrawFn) -> File:
    form = draw(st.sampled_from([LINK, COPY, NAME, TEXT, RAW, WATCHED, DIRECTORY]))
    file = File(form, draw(field), draw(st.integers(0, 0o777)))
    if form in (TEXT, RAW, WATCHED):
        file.content = draw(contents)
    elif form in (LINK, COPY):
        file.digest, file.size = draw(digest), draw(st.integers(0, 1 << 40))
    return file


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    s = Snapshot()
    for name in ("triple", "directory", "name", "hash", "package", "generation", "action_key"):
        setattr(s, name, draw(field))
    s.stamped = draw(st.booleans())
    s.dependencies = draw(st.lists(st.tuples(field, field, digest), max_size=4))
    s.requirements = [Requirement(*row) for row in draw(st.lists(st.tuples(field, field, field), max_size=4))]
    s.bindings = draw(st.lists(st.tuples(field, field), max_size=3))
    s.inputs = [Input(*row) for row in draw(st.lists(st.tuples(field, field, digest), max_size=4))]
    s.files = draw(st.lists(files(), max_size=6))
    return s


def plain(s: Snapshot) -> List[object]:
    """A snapshot as something that can be compared."""
    rows: List[object] = [getattr(s, name) for name in s.__slots__ if name not in ("requirements", "inputs", "files")]
    rows += [(each.kind, each.name, each.value) for each in s.requirements]
    rows += [(each.kind, each.path, each.digest) for each in s.inputs]
    return rows + [tuple(getattr(each, name) for name in each.__slots__) for each in s.files]


@given(snapshots())
def test_a_snapshot_comes_back_as_it_was(s: Snapshot) -> None:
    found = units.decode(s.encode())
    assert found is not None
    assert plain(found) == plain(s)


@given(st.dictionaries(st.tuples(word, st.tuples(word, word)), st.lists(digest, min_size=1, max_size=3, unique=True)))
def test_a_plan_comes_back_as_it_was(rows: Dict[Tuple[str, Tuple[str, str]], List[str]]) -> None:
    plan = Plan()
    for (triple, unit), digests in rows.items():
        for each in reversed(digests):
            plan.add((triple, "/".join(unit)), each)
    found = units.decode_plan(plan.encode())
    assert found is not None
    assert found.units == plan.units
    assert list(found.units) == list(plan.units)


def test_the_newest_snapshot_comes_first_and_old_ones_go() -> None:
    plan = Plan()
    for number in range(10):
        plan.add(("", "a-1/lib-a"), "%064x" % number)
    plan.add(("", "a-1/lib-a"), "%064x" % 7)
    assert plan.units["", "a-1/lib-a"] == ["%064x" % number for number in (7, 9, 8, 6, 5, 4)]


def test_what_is_damaged_is_not_there(world: World) -> None:
    store = Store(str(world.cache_dir))
    s = Snapshot()
    s.directory, s.name = "a-1", "lib-a"
    s.files = [File(RAW, "x", 0o644, b"content")]
    name = units.write_unit(store, s)
    path = Path(units.unit_path(store.root, name))
    data = path.read_bytes()
    assert units.read_unit(store, name) is not None
    for bit in range(0, len(data) * 8, 3):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        assert units.read_unit(store, name) is None
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert units.read_unit(store, name) is None
    plan = Plan()
    plan.add(s.key(), name)
    whole = plan.encode()
    for at in range(len(whole)):
        assert units.decode_plan(whole[:at]) is None
        assert units.decode_plan(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]) is None


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", "", ".", "..", "a/.."])
def test_a_path_that_leaves_the_target_is_refused(path: str) -> None:
    s = Snapshot()
    s.directory, s.name = "a-1", "lib-a"
    s.files = [File(RAW, path, 0o644, b"x")]
    assert not warm.is_sound(s)
    s.files = [File(RAW, "deps/x", 0o644, b"x")]
    assert warm.is_sound(s)
    s.files = [File("z", "deps/x", 0o644, b"x")]
    assert not warm.is_sound(s)
    s.files = [File(RAW, "deps/x", 0o4755, b"x")]
    assert not warm.is_sound(s)


ROOTS = Roots({"workspace": "/a/ws", "target": "/a/ws/target", "cargo-home": "/h/.cargo"}, True, False)


@given(
    st.lists(st.sampled_from([b"/a/ws", b"/a/ws/target", b"/h/.cargo", b"/", b"x", b" ", b"-I", b'"', b"\n", b"-2"]))
)
def test_a_text_comes_back_here_as_it_was(parts: List[bytes]) -> None:
    data = b"".join(parts)
    text = units.with_placeholders(data, ROOTS)
    assert text is not None
    assert units.without_placeholders(text, ROOTS.by_name) == data


def test_the_same_text_in_another_place() -> None:
    text = units.with_placeholders(b"cargo:x=/a/ws/target/debug/out\ncargo:y=-I/a/ws/inc /a/ws-2/z /b/a/ws", ROOTS)
    assert text is not None
    elsewhere = {"workspace": "/new", "target": "/t"}
    found = units.without_placeholders(text, elsewhere)
    assert found == b"cargo:x=/t/debug/out\ncargo:y=-I/new/inc /a/ws-2/z /b/a/ws"
    assert units.remaining_roots(text, ROOTS) == ["workspace"]
    with pytest.raises(KeyError):
        units.without_placeholders(text, {"workspace": "/new"})


def test_binary_content_is_left_alone() -> None:
    assert units.with_placeholders(b"/a/ws\0", ROOTS) is None
