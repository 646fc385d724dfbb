"""The action key: whatever may change an output changes it, and nothing else does."""

import os
import posix
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kachelib import action as actions
from kachelib.roots import Roots
from tests.actions import Place, archive, grow_old, settings_with

SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# Any two compiles: the same key exactly where they are the same but for their place

TEXT = st.text('a"=,: -/\udc80', max_size=4)
WORD = st.sampled_from(("a", "b", "ab"))
OPTIONS = st.one_of(
    st.tuples(st.sampled_from(("--cfg", "--check-cfg", "--env-set")), TEXT),
    st.tuples(st.just("--remap-path-prefix"), TEXT.map("/x={}".format)),
    st.tuples(st.sampled_from(("--allow", "--warn", "--deny", "--forbid", "--cap-lints")), WORD),
    st.tuples(st.sampled_from(("-Z", "--edition", "--unknown")), WORD),
)
CODEGEN = st.one_of(
    st.tuples(st.sampled_from(("opt-level", "debuginfo", "panic", "link-arg", "unknown")), WORD),
    st.tuples(st.sampled_from(("strip", "relocation-model", "target-feature")), TEXT),
)
FIELDS: Dict[str, st.SearchStrategy[Any]] = {
    "options": st.lists(OPTIONS, max_size=3),
    "codegen": st.lists(CODEGEN, max_size=3),
    "aliases": st.sampled_from(("", "-O", "-g")),
    "kind": st.sampled_from(("lib", "rlib", "bin", "proc-macro")),
    "emit": st.sampled_from(("metadata,dep-info", "dep-info,metadata", "link,dep-info", "dep-info,link,metadata")),
    "test": st.booleans(),
    "source": st.sampled_from(("src/lib.rs", "src/a.rs", "./src/lib.rs")),
    "target": st.sampled_from(("", "aarch64-unknown-linux-gnu", "wasm32-wasip1")),
    "externs": st.lists(st.tuples(WORD, st.sampled_from(("", "priv", "noprelude")), st.integers(0, 2)), max_size=3),
    "paths": st.lists(st.tuples(st.sampled_from(("native", "framework", "all", "dependency")), WORD), max_size=2),
    "libraries": st.lists(st.sampled_from(("foo", "bar", "dylib=foo", "dylib:+verbatim=foo")), max_size=2),
    "environ": st.dictionaries(
        st.sampled_from(("CARGO_PKG_NAME", "CARGO_PKG_AUTHORS", "CARGO_BIN_NAME", "RUSTC_BOOTSTRAP", "KEYED")), TEXT
    ),
    "clippy": st.dictionaries(st.sampled_from(("CLIPPY_ARGS", "CLIPPY_DISABLE_DOCS_LINKS")), WORD),
    "other": st.dictionaries(st.sampled_from(("CARGO_PRIMARY_PACKAGE", "LANG", "TERM")), WORD),
    "key_env_vars": st.sampled_from(((), ("KEYED",), ("KEYED", "UNSET"), ("CARGO_PKG_NAME",))),
    "key_salt": TEXT,
    "version": WORD,
    "driver": st.sampled_from(("", "clippy 0.1.90", "clippy 0.1.91")),
    "normalize": st.booleans(),
    # what only says where, or how it looks
    "out": st.sampled_from(("target/debug/deps", "target/debug/examples")),
    "width": st.sampled_from(("80", "200")),
    "color": st.sampled_from(("always", "never")),
    "incremental": st.sampled_from(("", "target/debug/incremental")),
}
Spec = Dict[str, Any]


def meaning(spec: Spec) -> Tuple[Any, ...]:
    """What of ``spec`` may change an output: two compiles with the same meaning have one key."""
    alias = {"": [], "-O": [("opt-level", "3")], "-g": [("debuginfo", "2")]}[spec["aliases"]]
    keyed = {name: spec["environ"].get(name) for name in spec["key_env_vars"]}
    environ = {name: value for name, value in spec["environ"].items() if name != "KEYED"}
    linked = "link" in spec["emit"] and (spec["test"] or spec["kind"] in ("bin", "proc-macro"))
    return (
        spec["options"],
        spec["codegen"] + alias,
        spec["kind"],
        sorted(spec["emit"].split(",")),
        spec["test"],
        spec["source"],
        spec["target"],
        spec["externs"],
        [(kind, path) for kind, path in spec["paths"] if kind != "dependency"],
        spec["libraries"],
        sorted(environ.items()),
        sorted(keyed.items()),
        spec["key_salt"],
        spec["version"],
        spec["driver"],
        sorted(spec["clippy"].items()) if spec["driver"] else [],
        spec["normalize"],
        linked,
    )


def key_of(place: Place, spec: Spec) -> str:
    words: List[str] = []
    for name, value in spec["options"]:
        words += [f"{name}={value}"] if name == "--unknown" else [name, value]
    for name, value in spec["codegen"]:
        words += ["-C", f"{name}={value}"]
    words += [spec["aliases"]] if spec["aliases"] else []
    words += ["--test"] if spec["test"] else []
    words += ["--target", spec["target"]] if spec["target"] else []
    for name, option, content in spec["externs"]:
        words += ["--extern", f"{option + ':' if option else ''}{name}=externs/{content}"]
    for kind, path in spec["paths"]:
        words += ["-L", f"{kind}=libraries/{path}"]
    for library in spec["libraries"]:
        words += ["-l", library]
    words += ["--diagnostic-width", spec["width"], "--color", spec["color"]]
    words += ["-C", "incremental=" + spec["incremental"]] if spec["incremental"] else []
    settings_with(
        place.settings,
        key_salt=spec["key_salt"],
        key_env_vars=spec["key_env_vars"],
        path_normalize=spec["normalize"],
    )
    place.version = f"rustc {spec['version']}\nhost: x86_64-unknown-linux-gnu\n"
    environ = {**place.environ, **spec["environ"], **spec["clippy"], **spec["other"]}
    place.driver = spec["driver"]
    options = {name: spec[name] for name in ("kind", "emit", "source")}
    return place.key(*words, out=str(place.directory / spec["out"]), environ=environ, **options)


@settings(SHARED, max_examples=80)
@given(spec=st.fixed_dictionaries(FIELDS), others=st.fixed_dictionaries(FIELDS))
def test_two_compiles_have_one_key_exactly_where_they_mean_the_same(place: Place, spec: Spec, others: Spec) -> None:
    """One thing after the other is changed: each alone makes another key, or is one of those that never may."""
    for content in range(3):
        place.write(f"externs/{content}", str(content))
    key = key_of(place, spec)
    for field, value in others.items():
        changed = {**spec, field: value}
        same = meaning(spec) == meaning(changed)
        assert (key_of(place, changed) == key) == same, f"{field}: {spec[field]!r} and {value!r}"


# Another checkout, another HOME, another machine: the same key

NAMES = st.sampled_from(("ws", "a b", "ünd", "kache", "target", "home", "x" * 40))
SHAPES = ("home above", "home below", "apart", "cargo home apart", "target apart")
HERE_AND_THERE = (
    ("-C", "link-arg=-L{target}/native"),
    ("-C", "link-args=-Wl,-rpath,{ws}/lib -L{cargo}/x"),
    ("-C", "unknown={ws}"),
    ("-L", "native={target}/debug/build/y/out"),
    ("-L", "{ws}/vendor"),
    ("--remap-path-prefix", "{ws}/src=/s"),
    ("--remap-path-prefix", "{cargo}/registry=/r"),
    ("-C", "incremental={target}/debug/incremental"),
    ("-C", "linker={home}/bin/linker"),
)


def place_at(base: Path, shape: str, name: str) -> Tuple[Place, Dict[str, str]]:
    """A checkout called ``name``, and where it, its HOME, CARGO_HOME and target directory are."""
    home = {"home above": ".", "home below": f"{name}/home"}.get(shape, "people/me")
    place = Place(base, name=name, home=home)
    where = {"ws": str(place.directory), "home": os.path.normpath(place.home), "target": str(place.target)}
    where["cargo"] = str(base / "cargo") if shape == "cargo home apart" else where["home"] + "/.cargo"
    place.environ.update(HOME=where["home"], CARGO_HOME=where["cargo"])
    if shape == "target apart":
        where["target"] = str(base / "elsewhere")
        (base / "elsewhere/debug/deps").mkdir(parents=True)
        (base / "elsewhere/.rustc_info.json").write_text("")
    return place, where


@settings(SHARED, max_examples=30)
@given(
    shapes=st.tuples(st.sampled_from(SHAPES), st.sampled_from(SHAPES)),
    names=st.tuples(NAMES, NAMES),
    words=st.lists(st.sampled_from(HERE_AND_THERE), max_size=3),
)
def test_the_key_knows_no_place(
    tmp_path: Path, shapes: Tuple[str, str], names: Tuple[str, str], words: List[Tuple[str, str]]
) -> None:
    keys = []
    for shape, name in zip(shapes, names):
        place, where = place_at(Path(tempfile.mkdtemp(dir=tmp_path)), shape, name)
        place.write("externs/a", "a")
        more = [word.format(**where) for pair in words for word in pair]
        more += ["--extern", f"a={where['ws']}/externs/a", "-L", f"dependency={where['target']}/debug/deps"]
        keys.append(place.key(*more, out=where["target"] + "/debug/deps"))
    assert keys[0] == keys[1]


def test_the_key_knows_no_place_of_a_registry_package(tmp_path: Path) -> None:
    keys = []
    for base in (tmp_path / "a", tmp_path / "b"):
        place = Place(base, home="cargo/is/below")
        package = place.home / ".cargo/registry/src/index.crates.io-1/x-0.1.0"
        package.mkdir(parents=True)
        (package / "lib.rs").write_text("")
        environ = {**place.environ, "CARGO_MANIFEST_DIR": str(package)}
        action = place.action(source=str(package / "lib.rs"), environ=environ, cwd=str(package))
        assert action.roots.immutable and not action.fingerprinted
        keys.append(action.key)
    assert keys[0] == keys[1]


def test_the_key_knows_no_place_of_a_path_dependency(tmp_path: Path) -> None:
    keys = []
    for base in (tmp_path / "a", tmp_path / "deeper/b"):
        place = Place(base)
        package = base / "outside"
        package.mkdir()
        environ = {**place.environ, "CARGO_MANIFEST_DIR": str(package)}
        keys.append(place.key(source=str(package / "lib.rs"), environ=environ, cwd=str(package)))
    assert keys[0] == keys[1]


def test_a_member_is_not_a_path_dependency(place: Place) -> None:
    """file!() is relative in the one and absolute in the other."""
    assert place.key() != place.key(source=str(place.directory / "src/lib.rs"))


def test_the_working_directory_counts(tmp_path: Path) -> None:
    """It is in debug information, remapped or not."""
    place = Place(tmp_path)
    source = str(place.directory / "src/lib.rs")
    keys = set()
    for directory in ("/", str(tmp_path), str(place.home), str(place.home / "below"), str(place.directory)):
        keys.add(place.key(source=source, cwd=directory))
    assert len(keys) == 5


def test_a_root_that_rustc_could_not_be_told_is_not_remapped(tmp_path: Path) -> None:
    """rustc takes no argument that is not UTF-8; what the outputs hold of such a path is found by its bytes."""
    action = Place(tmp_path, home="\udc80").action()
    assert not [flag for flag in action.remap if "\udc80" in flag]
    assert [flag for flag in action.remap if str(tmp_path) in flag]
    assert "home" in action.roots.by_name
    assert action.key != Place(tmp_path / "b").key()


def test_an_unset_home_is_another_remapping(place: Place) -> None:
    environ = {name: value for name, value in place.environ.items() if name not in ("HOME", "CARGO_HOME")}
    assert place.key(environ=environ) != place.key()


@pytest.mark.parametrize("codegen", ["instrument-coverage", "instrument-coverage=all", "instrument_coverage=yes"])
def test_coverage_and_the_setting_bind_to_the_place(codegen: str, tmp_path: Path) -> None:
    keys = set()
    for name in ("a", "b"):
        place = Place(tmp_path / name)
        action = place.action("-C", codegen)
        assert action.bound and not action.remap
        keys.add(action.key)
        settings_with(place.settings, path_normalize=False)
        action = place.action()
        assert action.bound and not action.remap
        keys.add(action.key)
    assert len(keys) == 4


@pytest.mark.parametrize("codegen", ["instrument-coverage=off", "instrument-coverage=no", "opt-level=0"])
def test_everything_else_is_remapped(codegen: str, place: Place) -> None:
    action = place.action("-C", codegen)
    assert not action.bound
    sources = [flag.split("=")[1] for flag in action.remap]
    # rustc takes the last that matches, so what lies inside comes later
    assert sources[:-1] == sorted(sources[:-1], key=len)
    assert sources[-1].endswith("/lib/rustlib/src/rust")
    assert {str(place.directory), str(place.home), str(place.target), str(place.home / ".cargo")} == set(sources[:-1])


# Paths and placeholders

PARTS = st.sampled_from(("a", "b", "ab", "a b", "<ws>", "é"))
DIRECTORIES = st.lists(PARTS, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
ROOTS = st.dictionaries(st.sampled_from(("workspace", "target", "home", "cargo-home")), DIRECTORIES, min_size=1).map(
    lambda values: Roots(values, True, False)
)


@given(roots=ROOTS, path=DIRECTORIES)
def test_a_path_survives_its_placeholder(roots: Roots, path: str) -> None:
    normal = roots.normalise(path)
    assert roots.localise(normal) == path
    below = [value for _, value in roots.values if path == value or path.startswith(value + "/")]
    assert (normal != path) == bool(below)
    if below:
        assert len(roots.localise(normal.partition(">")[0] + ">")) == max(map(len, below)), "the innermost root"


@given(roots=ROOTS, first=DIRECTORIES, second=DIRECTORIES)
def test_two_paths_never_get_one_placeholder(roots: Roots, first: str, second: str) -> None:
    assert (roots.normalise(first) == roots.normalise(second)) == (first == second)


def test_a_root_that_is_unknown_here_is_no_path() -> None:
    roots = Roots({"workspace": "/w"}, True, False)
    assert roots.localise("<package>/src/lib.rs") == ""
    assert roots.localise("<workspace>") == "/w"
    assert roots.localise("/usr/include") == "/usr/include"
    assert roots.localise("relative") == "relative"


@given(
    roots=st.dictionaries(
        st.sampled_from(("workspace", "target", "home")),
        st.sampled_from(("/w", "/w/t", "/w-2", "/h", "/h/w")),
        min_size=1,
    ).map(lambda values: Roots(values, True, False)),
    text=st.lists(
        st.sampled_from(("/w", "/w/t", "/w-2", "/h/w", "/", ",", "=", " ", "x", "-L", ".o", ":")), max_size=8
    ),
)
def test_text_survives_its_placeholders(roots: Roots, text: List[str]) -> None:
    whole = "".join(text)
    normal = roots.normalise_text(whole)
    for name, value in roots.values:
        normal = normal.replace(f"<{name}>", value)
    assert normal == whole


def test_text_is_looked_at_by_whole_names() -> None:
    roots = Roots({"workspace": "/w", "target": "/w/target"}, True, False)
    for text, normal in {
        "-L/w/lib": "-L<workspace>/lib",
        "/w": "<workspace>",
        "-Wl,-rpath,/w/target/x,/w": "-Wl,-rpath,<target>/x,<workspace>",
        "a=/w:/w/target": "a=<workspace>:<target>",
        "/w2/x /w-2 /w_2 /w.2": "/w2/x /w-2 /w_2 /w.2",
        "/x/w /home/w/y": "/x/w /home/w/y",
    }.items():
        assert roots.normalise_text(text) == normal


# Looking again after the compile


@pytest.fixture
def everything(place: Place) -> Tuple[Place, Tuple[str, ...]]:
    """A compile whose key read all there is to read."""
    place.driver = "clippy 0.1.90"
    for name in ("a.rmeta", "script.map", "my.json", "clippy.toml", "data/x"):
        place.write(name, name)
    archive(place, "one/libfoo.a")
    place.write("kache.toml", "extra_inputs = ['data/*']\n")
    words = ("--extern", "a=a.rmeta", "-C", "link-arg=-Wl,--version-script=script.map", "--target", "my.json")
    grow_old()
    return place, (*words, "-l", "static=foo", "-L", "native=one")


READ = ["a.rmeta", "script.map", "my.json", "clippy.toml", "data/x", "one/libfoo.a", "Cargo.toml"]


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("how", ["rewritten", "same bytes again", "time put back", "replaced by an older one", "gone"])
def test_an_input_of_the_key_that_changed_since_is_told(
    name: str, how: str, everything: Tuple[Place, Tuple[str, ...]]
) -> None:
    place, words = everything
    action = place.action(*words)
    assert actions.changed_input(action) == ""
    path = place.directory / name
    if how == "rewritten":
        path.write_text("changed")
    elif how == "same bytes again":
        path.write_bytes(path.read_bytes())
    elif how == "time put back":
        before = path.stat()
        path.write_bytes(path.read_bytes()[:-1] + b"!")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif how == "replaced by an older one":
        other = place.write("other", path.read_text())
        os.utime(other, (1, 1))
        os.rename(other, path)
    else:
        path.unlink()
    assert actions.changed_input(action) == str(path)


def test_an_extern_that_becomes_a_blob_meanwhile_is_the_same(place: Place, tmp_path: Path) -> None:
    """Another kache may link a blob's inode at any time; that moves its ctime and nothing else."""
    path = place.write("a.rlib", "x")
    os.utime(path, (1577836800, 1577836800))
    os.link(path, tmp_path / "blob")
    grow_old()
    action = place.action("--extern", "a=a.rlib")
    os.link(path, tmp_path / "another")
    assert actions.changed_input(action) == ""


def test_an_input_that_was_written_just_before_is_not_trusted(place: Place) -> None:
    """Written between the clock's tick and the hash: whether the compiler saw it is not known."""
    action = place.unbuilt(place.arguments("--extern", "a=a.rmeta"))
    place.write("a.rmeta", "new")
    assert actions.build(action, place.settings, place.store) is None
    assert actions.changed_input(action) == str(place.directory / "a.rmeta")


# Who carries a fingerprint


def test_only_units_that_a_macro_may_reach_look_at_the_package(place: Place) -> None:
    assert not place.action().fingerprinted
    assert not place.action("--extern", "proc_macro").fingerprinted
    assert place.action(*place.extern("a")).fingerprinted


def test_the_package_is_where_cargo_says_else_where_the_source_is(place: Place) -> None:
    assert place.action().manifest_dir() == str(place.directory)
    environ: Dict[str, Optional[str]] = {**place.environ}
    del environ["CARGO_MANIFEST_DIR"]
    action = place.unbuilt(place.arguments(), {name: value for name, value in environ.items() if value})
    assert action.manifest_dir() == str(place.directory / "src")
    assert action.out_dir() == str(place.out)
    assert posix.getcwd() != action.cwd
