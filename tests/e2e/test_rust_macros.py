"""What a compile may have read though dep-info does not say so, and variables that hold places.

A macro can list a directory, read a file or a variable. A variable such as OUT_DIR is harmless where it only
locates an included file, and binds the crate to its place where anything else is made of it.
"""

import os
import shutil
from pathlib import Path
from typing import Callable, List, Mapping

import pytest

from tests.e2e.rustc import OUT, Rustc, hit
from tests.world import Cargo, Kache, Run

MANIFEST = '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n'
LISTING = {
    "Cargo.toml": MANIFEST,
    "src/main.rs": 'fn main() { print!("{}", look::list!("data")) }\n',
    "data/a.sql": "one\n",
    "data/b.sql": "two\n",
}


@pytest.fixture
def kache(kache_file: Kache) -> Kache:
    """Only as it ships."""
    return kache_file


class Listing:
    """A package whose program prints what its directory ``data`` held when it was compiled."""

    def __init__(self, rustc: Rustc, ws: Path, extern: str) -> None:
        self.rustc = rustc
        self.ws = ws
        self.extern = ["--extern", extern]

    def prints(self) -> str:
        return self.rustc.program(self.ws, *self.extern)

    def hits(self) -> bool:
        return hit(self.rustc(self.ws, "app", *self.extern, source="src/main.rs", kind="bin", emit="dep-info,link"))


@pytest.fixture
def listing(rustc: Rustc, workspace: Callable[..., Path], looking: Path) -> Listing:
    """The package of ``LISTING``, compiled once."""
    found = Listing(rustc, workspace(LISTING), f"look={looking}")
    assert found.prints() == "a.sql=one b.sql=two"
    assert found.hits()
    return found


def test_a_file_that_a_macro_would_list_makes_a_miss(listing: Listing) -> None:
    """Added, changed at its old size and time, renamed, removed; and back again it is a hit."""
    data = listing.ws / "data"
    (data / "c.sql").write_text("three\n")
    assert listing.prints() == "a.sql=one b.sql=two c.sql=three"
    (data / "c.sql").unlink()
    assert listing.hits()
    before = (data / "a.sql").stat()
    (data / "a.sql").write_text("uno\n")
    os.utime(data / "a.sql", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert listing.prints() == "a.sql=uno b.sql=two"
    (data / "a.sql").write_text("one\n")
    (data / "b.sql").rename(data / "0.sql")
    assert listing.prints() == "0.sql=two a.sql=one"
    (data / "0.sql").unlink()
    assert listing.prints() == "a.sql=one"
    (data / "b.sql").write_text("two\n")
    assert listing.hits()
    assert listing.rustc.printed(listing.ws) == "a.sql=one b.sql=two"


def test_a_directory_behind_a_link_is_part_of_the_package(
    rustc: Rustc, workspace: Callable[..., Path], looking: Path
) -> None:
    ws = workspace({name: text for name, text in LISTING.items() if not name.startswith("data")})
    shared = workspace({"a.sql": "one\n"}, name="shared")
    (ws / "data").symlink_to(shared)
    listing = Listing(rustc, ws, f"look={looking}")
    assert listing.prints() == "a.sql=one"
    (shared / "b.sql").write_text("two\n")
    assert listing.prints() == "a.sql=one b.sql=two"


def test_a_macro_reached_through_another_crate_looks_as_well(
    rustc: Rustc, workspace: Callable[..., Path], looking: Path
) -> None:
    ws = workspace({**LISTING, "through.rs": "pub use look::list;\n"})
    words = ["--extern", f"look={looking}"]
    rustc(ws, "look", *words, source="through.rs", out="../through", suffix="-t", wrapper=False).ok()
    listing = Listing(rustc, ws, f"look={ws.parent}/through/liblook-t.rlib")
    listing.extern += ["-L", f"dependency={looking.parent}"]
    assert listing.prints() == "a.sql=one b.sql=two"
    (ws / "data/c.sql").write_text("three\n")
    assert listing.prints() == "a.sql=one b.sql=two c.sql=three"


@pytest.mark.parametrize("name", ["src/unused.rs", "docs/read.md", "tests/t.rs", ".hidden", "Makefile", "x/LICENSE"])
def test_a_new_name_anywhere_in_the_package_makes_a_miss(listing: Listing, name: str) -> None:
    (listing.ws / name).parent.mkdir(exist_ok=True)
    (listing.ws / name).write_text("")
    assert not listing.hits()


def test_what_does_not_belong_to_the_package_makes_none(listing: Listing) -> None:
    """Target directories, git's, nested packages, the root's texts; nor the content of Rust sources nobody reads."""
    ws = listing.ws
    (ws / "tests").mkdir()
    (ws / "tests/t.rs").write_text("#[test] fn t() {}\n")
    assert not listing.hits()
    (ws / "tests/t.rs").write_text("#[test] fn another() {}\n")
    assert listing.hits()
    for name in (
        "target/debug/anything",
        ".git/HEAD",
        ".git/refs/heads/main",
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        "LICENSE-MIT",
        "nested/data/x.txt",
        "target-of-another/debug/deps/x",
    ):
        if name.startswith("nested"):
            (ws / "nested/data").mkdir(parents=True)
            (ws / "nested/Cargo.toml").write_text(MANIFEST.replace("app", "nested"))
        if name.startswith("target-of"):
            (ws / "target-of-another/debug/deps").mkdir(parents=True)
            (ws / "target-of-another/CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
        (ws / name).parent.mkdir(parents=True, exist_ok=True)
        (ws / name).write_text("1\n")
        assert listing.hits(), name
        (ws / name).write_text("2\n")
        assert listing.hits(), name


def test_a_readme_that_a_compile_read_counts(rustc: Rustc, workspace: Callable[..., Path], looking: Path) -> None:
    ws = workspace(
        {
            **LISTING,
            "README.md": "first\n",
            "src/main.rs": 'fn main() { print!("{}{}", look::list!("data"), include_str!("../README.md")) }\n',
        }
    )
    listing = Listing(rustc, ws, f"look={looking}")
    assert listing.prints() == "a.sql=one b.sql=twofirst\n"
    (ws / "README.md").write_text("second\n")
    assert listing.prints() == "a.sql=one b.sql=twosecond\n"


def test_an_unchanged_package_elsewhere_is_a_hit_whatever_the_order_of_its_files(
    rustc: Rustc, workspace: Callable[..., Path], looking: Path
) -> None:
    extern = f"look={looking}"
    assert Listing(rustc, workspace(LISTING, name="a/ws"), extern).prints() == "a.sql=one b.sql=two"
    other = workspace(dict(reversed(list(LISTING.items()))), name="another/deep/ws")
    (other / ".git").mkdir()
    assert Listing(rustc, other, extern).hits()
    assert rustc.printed(other) == "a.sql=one b.sql=two"


def test_a_variable_that_only_a_macro_reads_counts_once_it_is_named(
    rustc: Rustc, workspace: Callable[..., Path], looking: Path
) -> None:
    ws = workspace(
        {
            "Cargo.toml": MANIFEST,
            ".kache.toml": '[cache]\nkey_env_vars = ["THE_SETTING", "ANOTHER"]\n',
            "src/main.rs": 'fn main() { print!("{:?}", look::variable!("THE_SETTING")) }\n',
        }
    )

    def prints(**env: str) -> str:
        return rustc.program(ws, "--extern", f"look={looking}", env=env)

    assert prints() == "None"
    assert prints(THE_SETTING="") == 'Some("")'
    assert prints(THE_SETTING="1") == 'Some("1")'
    assert prints(THE_SETTING="1 ANOTHER=2") == 'Some("1 ANOTHER=2")'
    assert prints(THE_SETTING="1", ANOTHER="2") == 'Some("1")'
    assert prints() == "None"
    words = ["--extern", f"look={looking}"]
    again = rustc(ws, "app", *words, source="src/main.rs", kind="bin", emit="dep-info,link", env={"THE_SETTING": "1"})
    assert hit(again)
    assert rustc.printed(ws) == 'Some("1")'


# variables that hold places

INNOCENT = {
    "manifest": 'pub const T: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/x.txt"));',
    "out": 'include!(concat!(env!("OUT_DIR"), "/gen.rs"));',
    "bytes": 'pub const T: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/t.txt"));',
    "blanks": 'pub const T: &str = include_str ! ( concat! ( env!( "OUT_DIR" ) , "/t.txt" ) );',
    "lines": 'include! {\n    concat!(\n        // a word on it: env!("OUT_DIR").len()\n'
    '        env!("OUT_DIR"),\n        "/gen.rs"\n    )\n}',
    "twice": 'pub mod a { include!(concat!(env!("OUT_DIR"), "/gen.rs")); }\n'
    'pub mod b { include!(concat!(env!("OUT_DIR"), "/gen.rs")); }',
    "nested": 'include!(concat!(env!("OUT_DIR"), "/nested.rs"));',
    "none": "pub const T: u8 = 1;",
}

BOUND = {
    "value": '#[inline(never)] pub fn t() -> &\'static str { env!("CARGO_MANIFEST_DIR") }',
    "manifest": 'USED(env!("CARGO_MANIFEST_DIR").len())',
    "out": 'USED(env!("OUT_DIR").len())',
    "constant": 'const T: usize = env!("OUT_DIR").len();\nUSED(T)',
    "option": 'USED(option_env!("OUT_DIR").unwrap().len())',
    "is there": 'USED(match option_env!("OUT_DIR") { Some(value) => value.as_bytes()[5] as usize, None => 0 })',
    "blanks": 'USED(env ! ( "OUT_DIR" ) . len ( ))',
    "path": 'USED(::std::env!["OUT_DIR"].len())',
    "raw": 'USED(env!(r#"OUT_DIR"#).len())',
    "escaped": 'USED(env!("OUT\\u{5f}DIR").len())',
    "made": 'macro_rules! var { ($name:expr) => { env!($name) } }\nUSED(var!("OUT_DIR").len())',
    "made of parts": 'USED(env!(concat!("OUT", "_DIR")).len())',
    "one of two": 'include!(concat!(env!("OUT_DIR"), "/gen.rs"));\nUSED(env!("OUT_DIR").len())',
    "after": 'include!(concat!(env!("OUT_DIR"), "/gen.rs")); USED(env!("OUT_DIR").len())',
    "a comment before": '// include!(concat!(\nUSED(env!("OUT_DIR").len())',
    "a block comment": '/* include!( /* ( */ */ USED(env!("OUT_DIR").len())',
    "a string before": 'pub const S: &str = "include!(";\nUSED(env!("OUT_DIR").len())',
    "a raw string": 'pub const S: &str = r#"" include!("#; USED(env!("OUT_DIR").len())',
    "a character": 'pub const S: char = \'"\'; pub const I: &str = "include!("; USED(env!("OUT_DIR").len())',
    "a name alike": 'macro_rules! my_include { ($e:expr) => { $e.len() } }\nUSED(my_include!(env!("OUT_DIR")))',
    "a name alike after": 'macro_rules! include_len { ($e:expr) => { $e.len() } }\nUSED(include_len!(env!("OUT_DIR")))',
    "shadowed": 'macro_rules! include { ($e:expr) => { USED($e.len()) } }\ninclude!(env!("OUT_DIR"));',
    "imported": "mod m { macro_rules! length { ($e:expr) => { $e.len() } } pub(crate) use length; }\n"
    'use m::length as include_str;\nUSED(include_str!(env!("OUT_DIR")))',
    "qualified": "mod m { macro_rules! length { ($e:expr) => { $e.len() } } pub(crate) use length as include_str; }\n"
    'USED(m::include_str!(env!("OUT_DIR")))',
    "in the included": 'include!(concat!(env!("OUT_DIR"), "/length.rs"));',
    "by a macro": "USED(look::length!())",
    "in an attribute": '#[doc = env!("CARGO_MANIFEST_DIR")]\npub fn t() {}',
    "in an attribute of the crate": '#![doc = env!("CARGO_MANIFEST_DIR")]\npub fn t() {}',
}


def used(source: str) -> str:
    """``USED(x)`` as a function with the value ``x``: in its optimised code, the value is there and the text is not."""
    before, found, rest = source.partition("USED(")
    if not found:
        return source
    depth = 1
    for index, letter in enumerate(rest):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return f"{before}#[inline(never)] pub fn t() -> usize {{ {rest[:index]} }}{rest[index + 1 :]}"
    raise AssertionError(source)


def placed(rustc: Rustc, workspace: Callable[..., Path], name: str, source: str, looking: Path, **options: str) -> bool:
    """Compile ``source`` in a checkout and target directory at ``name``; whether it was a hit."""
    ws = workspace(
        {
            "Cargo.toml": MANIFEST,
            "src/gen.rs": "pub const F: u8 = 1;\n",
            "src/lib.rs": used(source) + "\n",
            "x.txt": "text\n",
            "target/debug/build/app-1/out/gen.rs": "pub const G: u8 = 1;\n",
            "target/debug/build/app-1/out/t.txt": "text\n",
            "target/debug/build/app-1/out/length.rs": used('USED(env!("OUT_DIR").len())\n'),
            "target/debug/build/app-1/out/nested.rs": 'include!(concat!(env!("OUT_DIR"), "/gen.rs"));\n',
        },
        name=name,
    )
    env = {"OUT_DIR": f"{ws}/target/debug/build/app-1/out"}
    more = ["--extern", f"look={looking}"] if "look::" in source else []
    return hit(rustc(ws, "app", "-O", *more, env=env))


@pytest.mark.parametrize("which", INNOCENT)
def test_a_variable_that_only_locates_an_included_file_binds_nothing(
    rustc: Rustc, workspace: Callable[..., Path], looking: Path, which: str
) -> None:
    assert not placed(rustc, workspace, "a/ws", INNOCENT[which], looking)
    assert placed(rustc, workspace, "another/deeper/ws", INNOCENT[which], looking)


@pytest.mark.parametrize("which", BOUND)
def test_a_variable_of_which_anything_else_is_made_binds_to_the_place(
    rustc: Rustc, workspace: Callable[..., Path], looking: Path, which: str
) -> None:
    """At home it is a hit, elsewhere it is compiled."""
    assert not placed(rustc, workspace, "a/ws", BOUND[which], looking)
    assert not placed(rustc, workspace, "another/deeper/ws", BOUND[which], looking)
    assert placed(rustc, workspace, "a/ws", BOUND[which], looking)
    assert placed(rustc, workspace, "another/deeper/ws", BOUND[which], looking)


def test_a_place_that_a_macro_baked_in_without_a_trace_binds(
    rustc: Rustc, workspace: Callable[..., Path], looking: Path
) -> None:
    """The macro asked the environment, so no dep-info names the variable; the program does, optimised or not."""
    for turn in range(2):
        for place in ("a/ws", "another/deeper/ws"):
            source = 'fn main() { print!("{}", look::variable!("CARGO_MANIFEST_DIR").unwrap()) }\n'
            ws = workspace({"Cargo.toml": MANIFEST, "src/main.rs": source}, name=place)
            for words in ([], ["-O"]):
                assert rustc.program(ws, *words, "--extern", f"look={looking}") == str(ws)
                if turn:
                    assert rustc.kache.events()[-1]["result"] == "local_hit"


def test_a_macro_of_another_crate_may_bind_as_well(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """No source of the crate names the variable."""
    found = []
    for place in ("a/ws", "another/deeper/ws"):
        ws = workspace(
            {
                "Cargo.toml": MANIFEST,
                "src/main.rs": 'fn main() { print!("{}", give::length!()) }\n',
                "give.rs": '#[macro_export] macro_rules! length { () => { env!("CARGO_MANIFEST_DIR").len() } }\n',
            },
            name=place,
        )
        rustc(ws, "give", source="give.rs", suffix="").ok()
        printed = rustc.program(ws, "--extern", f"give={ws}/{OUT}/libgive.rlib")
        assert printed == str(len(str(ws)))
        found.append(printed)
    assert found[0] != found[1]


@pytest.mark.parametrize("macro", ["include", "include_str"])
def test_a_generated_file_counts_wherever_out_dir_lies(
    cargo: Cargo, workspace: Callable[..., Path], macro: str
) -> None:
    """A build script writes what its package says; the same in another checkout is a hit, anything else is not."""
    uses: Mapping[str, str] = {
        "include": 'include!(concat!(env!("OUT_DIR"), "/gen.rs")); fn main() { print!("{}", TEXT) }',
        "include_str": 'fn main() { print!("{}", include_str!(concat!(env!("OUT_DIR"), "/gen.rs"))) }',
    }

    def printed(place: str, text: str) -> str:
        ws = workspace(
            {
                "Cargo.toml": MANIFEST,
                "build.rs": 'fn main() { println!("cargo:rerun-if-changed=text");'
                ' let out = std::env::var("OUT_DIR").unwrap() + "/gen.rs";'
                ' std::fs::write(out, format!("pub const TEXT: &str = {:?};",'
                ' std::fs::read_to_string("text").unwrap())).unwrap() }\n',
                "text": text,
                "src/main.rs": uses[macro] + "\n",
            },
            name=place,
        )
        runs.append(cargo("build", cwd=ws, env={"KACHE_CACHE_EXECUTABLES": "1"}).ok())
        shutil.rmtree(ws / "target/debug/deps")
        cargo("build", cwd=ws, env={"KACHE_CACHE_EXECUTABLES": "1"}).ok()
        return cargo.world.run([ws / "target/debug/app"]).ok().stdout

    runs: List[Run] = []
    first = printed("a/ws", "one")
    assert "one" in first
    assert printed("another/deeper/ws", "one") == first
    assert set(runs[1].results()["app"]) == {"local_hit"}
    assert "two" in printed("third/ws", "two")
    assert "two" in printed("a/ws", "two")
    assert printed("another/deeper/ws", "one") == first
