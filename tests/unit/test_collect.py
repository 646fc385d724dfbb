"""From a finished compile to a candidate: every reason not to store, what binds, what is portable, what is kept."""

import os
import posix
import random
from pathlib import Path
from typing import Dict, List, Optional, Set, Tuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kachelib import collect, inputs, replay
from kachelib.collect import Collected, NotStored
from kachelib.entry import FILE, SOURCE, Candidate
from kachelib.store import digest_file
from tests.actions import STEM, Place, compiled

SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

RMETA, RLIB = f"lib{STEM}.rmeta", f"lib{STEM}.rlib"


def archive(data: bytes = b"") -> bytes:
    """A library with one member."""
    head = b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (b"x-1.0.rcgu.o/", 0, 0, 0, b"644", len(data))
    return b"!<arch>\n" + head + data + b"\n" * (len(data) % 2)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def gather(place: Place, *more: str, **options: object) -> Collected:
    """Collect a compile of the library x; options as for ``compiled``."""
    action = place.action(*more)
    finished = compiled(place, action, **options)  # type: ignore[arg-type]
    return collect.collect(action, finished, "", place.store)


def reason(place: Place, *more: str, **options: object) -> str:
    """Why it is not stored."""
    with pytest.raises(NotStored) as caught:
        gather(place, *more, **options)
    return str(caught.value)


# What is recorded


def test_a_candidate_holds_what_was_read_written_and_said(place: Place) -> None:
    place.write("src/word.txt", "word")
    action = place.action()
    finished = compiled(
        place,
        action,
        sources=["src/lib.rs", "src/foo.rs", "src/word.txt"],
        variables={"SET": "value", "UNSET": None, "ODD": "a\\b\nc"},
        stderr=b"warning\n",
        stdout=b"out",
    )
    collected = collect.collect(action, finished, "f" * 64, place.store)
    candidate = collected.candidate
    assert [(item.kind, item.path) for item in candidate.inputs] == [
        (SOURCE, "<workspace>/src/lib.rs"),
        (SOURCE, "<workspace>/src/foo.rs"),
        (FILE, "<workspace>/src/word.txt"),
    ]
    assert candidate.inputs[2].digest == digest_file(str(place.directory / "src/word.txt"))
    assert {dep.name: (dep.state, dep.value) for dep in candidate.env_deps} == {
        "SET": ("=", "value"),
        "UNSET": ("-", ""),
        "ODD": ("=", "a\\b\nc"),
    }
    assert [(output.name, output.emit, output.executable) for output in candidate.outputs] == [
        (f"{STEM}.d", "dep-info", False),
        (RMETA, "metadata", False),
        (RLIB, "link", False),
    ]
    assert candidate.fingerprint == "f" * 64 and candidate.compile_ms == 1234 and candidate.bindings == []
    assert candidate.stderr.data.endswith(b"warning\n") and candidate.stdout.data == b"out"
    assert candidate.cache_key == candidate.compute_cache_key(action.key)


def test_what_was_collected_and_published_is_a_hit(place: Place) -> None:
    action = place.action()
    finished = compiled(place, action, stderr=b"said\n")
    assert collect.publish(collect.collect(action, finished, "", place.store), action, place.store)
    entry = place.store.read_entry(action.key)
    assert entry is not None
    (candidate,) = entry.candidates()
    assert inputs.difference(candidate, action, "", place.store) == ""
    assert all(place.store.has_blob(output.digest, output.size) for output in candidate.outputs)
    assert entry.transcript() == action.transcript.fields
    # the same again: nothing is new, and there is still one candidate
    finished = compiled(place, action, stderr=b"said\n")
    assert not collect.publish(collect.collect(action, finished, "", place.store), action, place.store)
    again = place.store.read_entry(action.key)
    assert again is not None and len(again) == 1


def test_another_source_is_another_candidate_of_the_same_action(place: Place) -> None:
    for text in ("one", "two"):
        place.write("src/foo.rs", text)
        action = place.action()
        collect.publish(collect.collect(action, compiled(place, action), "", place.store), action, place.store)
    entry = place.store.read_entry(action.key)
    assert entry is not None and len(entry) == 2
    newest, oldest = entry.candidates()
    assert inputs.difference(newest, action, "", place.store) == ""
    assert inputs.difference(oldest, action, "", place.store) != ""


def test_only_the_library_beside_its_metadata_gives_its_inode_to_the_store(place: Place) -> None:
    action = place.action()
    collect.publish(collect.collect(action, compiled(place, action), "", place.store), action, place.store)
    links = {path.name: path.stat().st_nlink for path in place.out.iterdir()}
    reflinks = not (Path(place.store.memo_dir()) / "no-reflink").exists()
    assert links == {f"{STEM}.d": 1, RMETA: 1, RLIB: 1 if reflinks else 2}
    alone = place.action(emit="dep-info,link")
    finished = compiled(place, alone, {RLIB: archive(b"alone")})
    collect.publish(collect.collect(alone, finished, "", place.store), alone, place.store)
    assert (place.out / RLIB).stat().st_nlink == 1, "Cargo goes by its time, and a blob's is old"


def test_large_words_and_those_with_nul_are_blobs(place: Place) -> None:
    for said in (b"x" * 40_000, b"a\0b"):
        action = place.action()
        collected = collect.collect(action, compiled(place, action, stderr=said, stdout=said), "", place.store)
        collect.publish(collected, action, place.store)
        for stream in (collected.candidate.stdout, collected.candidate.stderr):
            assert stream.digest and not stream.data
            found = place.store.read_blob(stream.digest)
            assert found is not None and found.endswith(said)


# Reasons not to store


def test_a_flood_of_words_is_not_stored(place: Place) -> None:
    action = place.action()
    finished = compiled(place, action)
    finished.whole = False
    with pytest.raises(NotStored, match="too much"):
        collect.collect(action, finished, "", place.store)


def test_a_compile_during_which_the_clock_was_set_is_not_stored(place: Place) -> None:
    action = place.action()
    finished = compiled(place, action)
    finished.steady = False
    with pytest.raises(NotStored, match="clock"):
        collect.collect(action, finished, "", place.store)


@pytest.mark.parametrize("name", ["src/lib.rs", "src/foo.rs"])
@pytest.mark.parametrize("how", ["rewritten", "replaced by an older one", "linked", "another mode"])
def test_a_source_that_changed_meanwhile_is_not_stored(name: str, how: str, place: Place) -> None:
    action = place.action()
    finished = compiled(place, action)
    path = place.directory / name
    if how == "rewritten":
        path.write_bytes(path.read_bytes())
    elif how == "replaced by an older one":
        other = place.write("other", "older")
        os.utime(other, (1, 1))
        os.rename(other, path)
    elif how == "linked":
        os.link(path, place.directory / "link")
    else:
        path.chmod(0o600)
    with pytest.raises(NotStored, match="changed during the compile"):
        collect.collect(action, finished, "", place.store)


def test_a_directory_that_was_swapped_meanwhile_is_not_stored(place: Place) -> None:
    """The files that lie there now are old, and not those that were compiled."""
    for name in ("lib.rs", "foo.rs"):
        place.write(f"new/{name}", "new")
    action = place.action()
    finished = compiled(place, action)
    os.rename(place.directory / "src", place.directory / "old")
    os.rename(place.directory / "new", place.directory / "src")
    with pytest.raises(NotStored, match="changed during the compile"):
        collect.collect(action, finished, "", place.store)


def test_an_included_file_of_a_build_script_is_stored_while_others_build(place: Place) -> None:
    """Cargo makes directories in target/debug/build all the time."""
    out = place.target / "debug/build/x-1/out"
    out.mkdir(parents=True)
    (out / "gen.rs").write_text("")
    action = place.action()
    finished = compiled(place, action, sources=["src/lib.rs", str(out / "gen.rs")])
    (place.target / "debug/build/other-2/out").mkdir(parents=True)
    (place.target / "debug/app").write_text("")
    collect.collect(action, finished, "", place.store)


def test_a_source_that_is_no_file_any_more_is_not_stored(place: Place) -> None:
    action = place.action()
    path = place.directory / "src/foo.rs"
    path.unlink()
    finished = compiled(place, action)
    with pytest.raises(OSError):
        collect.collect(action, finished, "", place.store)
    os.mkfifo(path)
    finished = compiled(place, action)
    with pytest.raises(NotStored, match="regular"):
        collect.collect(action, finished, "", place.store)


def test_a_dep_info_that_says_too_little_is_not_believed(place: Place) -> None:
    action = place.action()
    finished = compiled(place, action)
    path = place.out / f"{STEM}.d"
    whole = path.read_bytes()
    for cut in (b"", whole[: whole.index(b"src/lib.rs")], whole.replace(b"src/lib.rs", b"src/other.rs")):
        path.write_bytes(cut)
        with pytest.raises(NotStored, match=r"dep-info|placeholder"):
            collect.collect(action, finished, "", place.store)
    path.unlink()
    with pytest.raises(NotStored, match="no dep-info"):
        collect.collect(action, finished, "", place.store)


def test_a_path_like_a_placeholder_is_not_stored(place: Place) -> None:
    place.write("<workspace>/x.rs", "")
    assert "placeholder" in reason(place, sources=["src/lib.rs", "<workspace>/x.rs"])


@pytest.mark.parametrize("gone", [RMETA, RLIB])
def test_an_output_that_was_not_written_is_not_stored(gone: str, place: Place) -> None:
    """Each kind that was asked for; what a build without it would find is not known."""
    files = {name: archive() for name in (RMETA, RLIB) if name != gone}
    assert reason(place, files=files).startswith("no ")


def test_outputs_elsewhere_or_otherwise_are_not_stored(place: Place, tmp_path: Path) -> None:
    action = place.action()
    finished = compiled(place, action)
    real = finished.stderr
    finished.stderr = real.replace(str(place.out).encode(), str(tmp_path).encode())
    with pytest.raises(NotStored, match="outside the output directory"):
        collect.collect(action, finished, "", place.store)
    finished.stderr = real
    (place.out / RLIB).unlink()
    (place.out / RLIB).symlink_to(place.out / RMETA)
    with pytest.raises(NotStored, match="regular"):
        collect.collect(action, finished, "", place.store)


def test_without_notifications_the_names_follow_rustcs_rules(place: Place) -> None:
    action = place.action()
    finished = compiled(place, action)
    finished.stderr = b""
    names = [output.name for output in collect.collect(action, finished, "", place.store).candidate.outputs]
    assert names == [f"{STEM}.d", RMETA, RLIB]
    for kind in ("bin", "cdylib", "proc-macro", "staticlib"):
        unknown = place.action(kind=kind)
        with pytest.raises(NotStored, match="--json=artifacts"):
            collect._expected(unknown)


@pytest.mark.parametrize("word", ["extern crate other;", "pub extern  crate r#other as o;", "extern\ncrate other;"])
def test_a_crate_from_a_library_path_is_not_stored(word: str, place: Place) -> None:
    place.write("src/foo.rs", word)
    place.write("lib/libother.so", "")
    library = str(place.directory / "lib")
    assert "other" in reason(place, "-L", library)
    gather(place)
    gather(place, "-L", "native=" + library)
    place.write("src/foo.rs", "extern crate std; extern crate core; extern crate self as me;")
    gather(place, "-L", library)


def test_lints_that_look_at_every_package_are_not_stored(place: Place) -> None:
    place.driver = "clippy 0.1.90"
    gather(place)
    place.write("src/foo.rs", "#![warn(clippy::cargo)]")
    assert "clippy::cargo" in reason(place)
    place.driver = ""
    gather(place)


# Bound or portable


def bindings(candidate: Candidate) -> Set[str]:
    return {name for name, _ in candidate.bindings}


@pytest.mark.parametrize("name", ["workspace", "target", "home", "cargo-home", "sysroot"])
@pytest.mark.parametrize("output", [RMETA, RLIB])
def test_a_root_in_an_output_binds_to_it(name: str, output: str, place: Place) -> None:
    value = place.action().roots.by_name[name]
    files = {RMETA: b"meta", RLIB: archive()}
    found = b"\0\xff" + value.encode() + b"/src/main.rs"
    files[output] = archive(found) if output == RLIB else found
    candidate = gather(place, files=files).candidate
    # a root inside another binds to both
    assert name in bindings(candidate)
    assert all(outer in value for outer in dict(candidate.bindings).values())


def test_no_root_in_any_output_binds_to_nothing(place: Place) -> None:
    files = {RMETA: b"/proc/self/cwd/src/lib.rs /rustc/abc/library", RLIB: archive(b"relative/src/lib.rs")}
    assert gather(place, files=files).candidate.bindings == []


def searched(path: str, patterns: Dict[str, List[bytes]], piece: int) -> Tuple[Set[str], str]:
    """What is found in a file that is read in pieces of so many bytes, and its digest."""
    found: Set[str] = set()
    real = collect.PIECE
    collect.PIECE = piece
    try:
        return found, collect._digest_and_search(path, patterns, found)
    finally:
        collect.PIECE = real


@SHARED
@given(offset=st.integers(0, 200), piece=st.integers(1, 90))
def test_a_root_is_found_wherever_it_lies(place: Place, offset: int, piece: int) -> None:
    """Also across the pieces in which a file is read."""
    path = place.write("output", "x" * offset + "/some/where/deep" + "y" * 30)
    found, digest = searched(str(path), {"a": [b"/some/where/deep"], "b": [b"/some/where/else"]}, piece)
    assert found == {"a"}
    assert digest == digest_file(str(path))


PATHS = st.sampled_from([b"/user", b"/user/.c", b"/user/.r", b"/us", b"/tmp/one", b"/tmp", b"x", b"r/.c"])


@SHARED
@given(
    content=st.lists(PATHS, max_size=8).map(b"".join),
    patterns=st.dictionaries(st.sampled_from("abcd"), st.lists(PATHS, min_size=1, max_size=3), min_size=1),
    piece=st.integers(1, 40),
)
def test_roots_that_begin_alike_are_all_found(
    place: Place, content: bytes, patterns: Dict[str, List[bytes]], piece: int
) -> None:
    path = place.directory / "output"
    path.write_bytes(content)
    found, _ = searched(str(path), patterns, piece)
    assert found == {name for name, each in patterns.items() if any(pattern in content for pattern in each)}


def test_with_a_macro_the_beginning_of_a_root_is_enough(place: Place) -> None:
    """Optimised code compares strings in pieces of eight bytes."""
    extern = place.extern("mac")
    workspace = str(place.directory)
    files = {RMETA: b"meta", RLIB: archive(workspace[:8].encode() + b"\x48\xb8" + workspace[8:16].encode())}
    assert "workspace" in bindings(gather(place, *extern, files=files).candidate)
    assert bindings(gather(place, files=files).candidate) == set()


def packed(text: str, width: int, shift: int) -> bytes:
    """``text`` as LLVM writes an array of characters of ``width`` bits, ``shift`` bits into a byte, in noise."""
    noise = random.Random(f"{text}{width}{shift}")
    bits = [noise.randrange(2) for _ in range(64 + shift)]
    for char in text:
        bits += [ord(char) >> index & 1 for index in range(width)]
    bits += [noise.randrange(2) for _ in range(-len(bits) % 8 + 64)]
    return bytes(sum(bit << index for index, bit in enumerate(bits[at : at + 8])) for at in range(0, len(bits), 8))


@pytest.mark.parametrize("width", [7, 8])
@pytest.mark.parametrize("shift", range(8))
@pytest.mark.parametrize("macro", [False, True])
def test_a_root_in_bitcode_binds_too(width: int, shift: int, macro: bool, place: Place) -> None:
    """-C linker-plugin-lto, which is what Cargo passes to libraries for a profile with lto."""
    files = {RMETA: b"meta", RLIB: archive(packed(str(place.directory) + "/src", width, shift))}
    extern = place.extern("mac") if macro else []
    assert "workspace" in bindings(gather(place, *extern, "-C", "linker-plugin-lto", files=files).candidate)


def test_an_action_without_remapping_is_bound_to_every_root(place: Place) -> None:
    candidate = gather(place, "-C", "instrument-coverage", files={RMETA: b"", RLIB: archive()}).candidate
    assert bindings(candidate) == set(place.action().roots.by_name)


# Variables that hold a path


@pytest.mark.parametrize(
    ("code", "portable"),
    [
        ('include!(concat!(env!("OUT_DIR"), "/gen.rs"));', True),
        ('include_str!(concat!(env!("OUT_DIR"), "/gen.rs"));', True),
        ('const B: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/a", "/b"));', True),
        ('include!(env!("OUT_DIR"));', True),
        ('include! { concat! { env! { "OUT_DIR" } , "/gen.rs" } }', True),
        ('include ! [ concat ! [ env ! [ "OUT_DIR" ] ] ];', True),
        ('include!(\n    concat!(\n        env!("OUT_DIR"),\n        "/gen.rs"\n    )\n);', True),
        ('include!(concat!(env!("OUT_DIR"), "/a.rs")); include!(concat!(env!("OUT_DIR"), "/b.rs"));', True),
        ('// env!("OUT_DIR") is where it lies\ninclude!(concat!(env!("OUT_DIR"), "/gen.rs"));', True),
        ('/// env!("OUT_DIR")\n//! env!("OUT_DIR")\ninclude!(concat!(env!("OUT_DIR"), "/gen.rs"));', True),
        ('const P: &str = env!("OUT_DIR");', False),
        ('const P: &str = concat!(env!("OUT_DIR"), "/gen.rs");', False),
        ('include!(concat!(env!("OUT_DIR"), "/gen.rs")); const P: &str = env!("OUT_DIR");', False),
        ('include!(concat!("/", env!("OUT_DIR")));', False),
        ('const P: Option<&str> = option_env!("OUT_DIR");', False),
        ('include!(concat!(env!("OUT_DIR"), "/gen.rs")); x(option_env!("OUT_DIR"));', False),
        ('include!(concat!(env!("OUT_DIR"), "/gen.rs")); mac::embed!("OUT_DIR");', False),
        ('include!(concat!(env!("OUT_DIR"), "/gen.rs")); std::env::var("OUT_DIR");', False),
        ('my_include!(concat!(env!("OUT_DIR"), "/gen.rs"));', False),
        ('include!(concat!(env!("OUT_DIR", "not set"), "/gen.rs"));', False),
        ('include!(concat!(env!("OUT_DIR"), "/gen.rs")); x(); // env!("OUT_DIR")', False),
        ('include!(concat!(env!("OTHER"), "/gen.rs"));', False),
        ("mac::generated!();", False),
        ("", False),
    ],
)
def test_a_path_is_portable_only_where_it_leads_to_an_included_file(code: str, portable: bool, place: Place) -> None:
    out = str(place.target / "debug/build/x-1/out")
    place.write("src/foo.rs", code)
    place.environ["OUT_DIR"] = out
    (dep,) = gather(place, variables={"OUT_DIR": out}).candidate.env_deps
    assert (dep.state, dep.value) == (("~", "<target>/debug/build/x-1/out") if portable else ("=", out))


def test_one_use_in_any_source_is_enough_to_bind(place: Place) -> None:
    out = str(place.target / "out")
    place.write("src/foo.rs", 'include!(concat!(env!("OUT_DIR"), "/gen.rs"));')
    (dep,) = gather(place, variables={"OUT_DIR": out}).candidate.env_deps
    assert dep.state == "~"
    place.write("src/lib.rs", 'static P: &str = env!("OUT_DIR");')
    (dep,) = gather(place, variables={"OUT_DIR": out}).candidate.env_deps
    assert dep.state == "="


def test_an_included_path_that_is_in_an_output_all_the_same_binds(place: Place) -> None:
    out = str(place.target / "out")
    place.write("src/foo.rs", 'include!(concat!(env!("OUT_DIR"), "/gen.rs"));')
    files = {RMETA: out.encode(), RLIB: archive()}
    candidate = gather(place, variables={"OUT_DIR": out}, files=files).candidate
    assert candidate.env_deps[0].state == "=" and "target" in bindings(candidate)


@pytest.mark.parametrize("value", ["/elsewhere/out", "relative", "", "prefix:{target}/out", "-L{target}"])
def test_a_value_that_is_no_local_path_is_exact(value: str, place: Place) -> None:
    value = value.format(target=place.target)
    place.write("src/foo.rs", 'include!(concat!(env!("X"), "/gen.rs"));')
    (dep,) = gather(place, variables={"X": value}).candidate.env_deps
    assert (dep.state, dep.value) == ("=", value)


def test_nothing_is_portable_without_remapping(place: Place) -> None:
    out = str(place.target / "out")
    place.write("src/foo.rs", 'include!(concat!(env!("OUT_DIR"), "/gen.rs"));')
    (dep,) = gather(place, "-C", "instrument-coverage", variables={"OUT_DIR": out}).candidate.env_deps
    assert dep.state == "="


# Notifications, and how wide diagnostics are


def test_notifications_are_read_as_rustc_writes_them() -> None:
    said = b"\n".join(
        [
            b'{"$message_type":"artifact","artifact":"/a/libx.rmeta","emit":"metadata"}',
            b'{"artifact":"/a \\"b\\"\\\\c/libx.rlib","emit":"link"}',
            b'warning: {"artifact":"/not/this","emit":"link"}',
            b'{"$message_type":"diagnostic","message":"artifact"}',
            b"",
        ]
    )
    assert collect._announced(said) == {"/a/libx.rmeta": "metadata", '/a "b"\\c/libx.rlib': "link"}


@pytest.mark.parametrize(
    ("said", "width", "layout"),
    [
        ("", None, ""),
        ("\n", None, ""),
        ('{"rendered":"warning: short\\n  |\\n"}\n', None, "+14"),
        ('{"rendered":"warning: short\\n  |\\n"}\n', 200, "+14"),
        ('{"rendered":"\\u001b[1m\\u001b[33mwarning\\u001b[0m"}\n', None, "+9"),
        ('{"rendered":"' + "x" * 130 + '"}\n', None, "=140"),
        ('{"rendered":"' + "x" * 130 + '"}\n', 300, "+132"),
        ('{"rendered":"a ... b"}\n', 90, "=90"),
        ("plain text\n", None, "+10"),
    ],
)
def test_diagnostics_are_good_for_every_width_they_would_not_change_at(
    said: str, width: Optional[int], layout: str, place: Place
) -> None:
    more = [] if width is None else ["--diagnostic-width", str(width)]
    found = gather(place, *more, stderr=said.encode()).candidate.layout
    assert found == layout
    assert replay.suits(found, place.action(*more).plan)


def test_the_store_keeps_nothing_of_a_compile_that_is_not_stored(place: Place) -> None:
    reason(place, files={RMETA: b"x"})
    assert not (Path(place.store.root) / "store").exists()
    assert not (Path(place.store.root) / "entries").exists()


def test_collecting_leaves_the_target_as_it_is(place: Place) -> None:
    action = place.action()
    finished = compiled(place, action)
    before: Dict[str, posix.stat_result] = {path.name: path.stat() for path in place.out.iterdir()}
    collect.collect(action, finished, "", place.store)
    assert {path.name: path.stat() for path in place.out.iterdir()} == before
