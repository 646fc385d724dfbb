"""What a compile reads, counts in its key or is looked at again: sources, variables, other crates; real rustc."""

import os
from pathlib import Path
from typing import Callable, Sequence

import pytest

from tests.e2e.rustc import OUT, Rustc, hit
from tests.world import Kache

LIB = {"src/lib.rs": "pub fn one() -> u32 { 1 }\n"}

# what `cargo check` asks for
CHECK = "dep-info,metadata"


@pytest.fixture
def kache(kache_file: Kache) -> Kache:
    """Only as it ships: what a key holds does not hang on how kache starts."""
    return kache_file


# sources


def test_two_sources_that_change_places_are_another_crate(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace(
        {
            "src/main.rs": 'mod x; mod y; fn main() { println!("{}{}", x::N, y::N) }\n',
            "src/x.rs": "pub const N: u8 = 1;\n",
            "src/y.rs": "pub const N: u8 = 2;\n",
        }
    )
    assert rustc.program(ws) == "12\n"
    (ws / "src/x.rs").rename(ws / "src/z.rs")
    (ws / "src/y.rs").rename(ws / "src/x.rs")
    (ws / "src/z.rs").rename(ws / "src/y.rs")
    assert rustc.program(ws) == "21\n"


def test_an_edit_is_seen_whatever_the_files_time_and_size(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """Same size, same modification time: only the content differs. And back again it is a hit."""
    ws = workspace({"src/main.rs": 'mod x; fn main() { println!("{}", x::N) }\n', "src/x.rs": "pub const N: u8 = 1;\n"})
    path = ws / "src/x.rs"
    before = path.stat()
    assert rustc.program(ws) == "1\n"
    for number in ("2", "1", "2"):
        path.write_text(f"pub const N: u8 = {number};\n")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert rustc.program(ws) == f"{number}\n"
    assert hit(rustc(ws, "app", source="src/main.rs", kind="bin", emit="dep-info,link"))


@pytest.mark.parametrize(
    ("there", "appears"),
    [
        ("src/foo.rs", "src/foo/mod.rs"),
        ("src/foo/mod.rs", "src/foo.rs"),
        ("src/bar/foo.rs", "src/bar/foo/mod.rs"),
        ("src/inline/foo.rs", "src/inline/foo/mod.rs"),
    ],
)
def test_a_second_file_for_a_module_is_the_error_that_it_is_for_rustc(
    rustc: Rustc, workspace: Callable[..., Path], there: str, appears: str
) -> None:
    roots = {"bar": "mod bar;", "inline": "mod inline { pub mod foo; }"}
    ws = workspace({"src/lib.rs": roots.get(there.split("/")[1], "mod foo;") + "\n", there: "pub fn f() {}\n"})
    if "bar" in there:
        (ws / "src/bar.rs").write_text("pub mod foo;\n")
    assert not hit(rustc(ws, "a"))
    (ws / appears).parent.mkdir(exist_ok=True)
    (ws / appears).write_text("pub fn g() {}\n")
    run = rustc(ws, "a")
    assert run.returncode == 1
    assert "E0761" in run.stderr
    (ws / appears).unlink()
    assert hit(rustc(ws, "a"))


def test_an_included_file_counts_and_its_name_may_be_odd(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """dep-info escapes blanks as a Makefile does, and comment signs not at all."""
    odd = "src/a b#c$d\\e:f.txt"
    ws = workspace({"src/main.rs": 'fn main() { print!("{}", include_str!(r"a b#c$d\\e:f.txt")) }\n', odd: "one\n"})
    assert rustc.program(ws) == "one\n"
    assert rustc.program(ws) == "one\n"
    (ws / odd).write_text("two\n")
    assert rustc.program(ws) == "two\n"
    (ws / odd).write_text("one\n")
    assert hit(rustc(ws, "app", source="src/main.rs", kind="bin", emit="dep-info,link"))
    assert rustc.printed(ws) == "one\n"


# variables


@pytest.mark.parametrize(
    "value",
    [
        "",
        "plain",
        "two words",
        "back\\slash\\n",
        "line\nbreak",
        "return\r\n",
        "tab\t#hash",
        "=",
        "a=b",
        "ü",
        "'\"$HOME",
    ],
)
def test_a_variable_counts_with_all_of_its_value(rustc: Rustc, workspace: Callable[..., Path], value: str) -> None:
    ws = workspace({"src/main.rs": 'fn main() { print!("{:?}", option_env!("THE_VALUE").map(str::as_bytes)) }\n'})

    def expected(text: str) -> str:
        return f"Some({list(text.encode())})"

    assert rustc.program(ws) == "None"
    assert rustc.program(ws, env={"THE_VALUE": value}) == expected(value)
    assert rustc.program(ws, env={"THE_VALUE": value + "x"}) == expected(value + "x")
    assert hit(rustc(ws, "app", source="src/main.rs", kind="bin", emit="dep-info,link", env={"THE_VALUE": value}))
    assert rustc.printed(ws) == expected(value)
    assert rustc.program(ws) == "None"


def test_a_value_cannot_pass_for_another_variable(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace({"src/main.rs": 'fn main() { print!("{:?}", (env!("AA"), option_env!("BB"))) }\n'})
    assert rustc.program(ws, env={"AA": "1\n# env-dep:BB=2"}) == '("1\\n# env-dep:BB=2", None)'
    assert rustc.program(ws, env={"AA": "1", "BB": "2"}) == '("1", Some("2"))'
    assert rustc.program(ws, env={"AA": "1\n# env-dep:BB=2", "BB": "2"}) == '("1\\n# env-dep:BB=2", Some("2"))'


def test_a_variable_that_nobody_read_does_not_count(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace(LIB)
    assert not hit(rustc(ws, "a", env={"WHATEVER": "1"}))
    assert hit(rustc(ws, "a", env={"WHATEVER": "2", "USER": "somebody", "TERM": "other"}))


def test_a_package_version_counts_where_it_is_read(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace({"src/main.rs": 'fn main() { print!("{}", env!("CARGO_PKG_VERSION")) }\n'})
    assert rustc.program(ws) == "0.1.0"
    assert rustc.program(ws, env={"CARGO_PKG_VERSION": "0.2.0"}) == "0.2.0"
    assert rustc.program(ws) == "0.1.0"


# crates


def test_a_dependency_counts_by_its_bytes(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """Also where it has its old size and time; rebuilt to the same bytes it is the same."""
    ws = workspace(
        {
            "src/main.rs": 'fn main() { print!("{}", a::one()) }\n',
            "src/lib.rs": "#[inline] pub fn one() -> u32 { 1 }\n",
        }
    )
    path = ws / OUT / "liba-0123456789abcdef.rlib"
    extern = ["--extern", f"a={path}"]
    rustc(ws, "a", wrapper=False).ok()
    assert rustc.program(ws, *extern) == "1"
    before = path.stat()
    (ws / "src/lib.rs").write_text("#[inline] pub fn one() -> u32 { 2 }\n")
    rustc(ws, "a", out="../other", wrapper=False).ok()
    path.write_bytes((ws / "../other" / path.name).read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    path.with_suffix(".rmeta").write_bytes((ws / "../other" / path.name).with_suffix(".rmeta").read_bytes())
    assert rustc.program(ws, *extern) == "2"
    (ws / "src/lib.rs").write_text("#[inline] pub fn one() -> u32 { 1 }\n")
    rustc(ws, "a", wrapper=False).ok()
    assert hit(rustc(ws, "app", *extern, source="src/main.rs", kind="bin", emit="dep-info,link"))
    assert rustc.printed(ws) == "1"


@pytest.mark.parametrize("words", [["--extern", "a", "-L", "libs"], ["-L", "libs"], ["-L", "crate=libs"], ["-Llibs"]])
def test_a_dependency_that_rustc_searches_for_counts(
    rustc: Rustc, workspace: Callable[..., Path], words: Sequence[str]
) -> None:
    """Cargo names every crate by path; who does not is compiled or understood, and never given an old answer."""
    ws = workspace(
        {
            "src/main.rs": 'extern crate a; fn main() { print!("{}", a::one()) }\n',
            "src/lib.rs": "#[inline] pub fn one() -> u32 { 1 }\n",
        }
    )
    rustc(ws, "a", out="libs", suffix="", wrapper=False).ok()
    assert rustc.program(ws, *words) == "1"
    (ws / "src/lib.rs").write_text("#[inline] pub fn one() -> u32 { 2 }\n")
    rustc(ws, "a", out="libs", suffix="", wrapper=False).ok()
    assert rustc.program(ws, *words) == "2"


def test_a_constant_that_came_through_another_crate_counts(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """Its arguments name the crate between."""
    ws = workspace(
        {
            "src/main.rs": 'fn main() { print!("{}", mid::N) }\n',
            "src/mid.rs": "pub use low::N;\n",
            "src/low.rs": "pub const N: u32 = 1;\n",
        }
    )
    low, mid = (ws / OUT / f"lib{name}-0123456789abcdef.rmeta" for name in ("low", "mid"))
    for number in (1, 2, 1):
        (ws / "src/low.rs").write_text(f"pub const N: u32 = {number};\n")
        rustc(ws, "low", source="src/low.rs").ok()
        rustc(ws, "mid", "--extern", f"low={low}", source="src/mid.rs").ok()
        assert rustc.program(ws, "--extern", f"mid={mid.with_suffix('.rlib')}") == str(number)
