"""What moves rustc's output and stands in no dep-info and no argument: after each such change, no hit is wrong."""

import shutil
import sys
from pathlib import Path
from typing import Callable, Dict, List, Sequence

import pytest

from tests.e2e.rustc import OUT, Rustc, hit, library
from tests.world import Cargo, Kache, World

MAIN = 'extern "C" { fn answer() -> i32; }\nfn main() { println!("{}", unsafe { answer() }); }\n'


def answering(world: World, where: Path, number: int, name: str = "foo", function: str = "answer") -> Path:
    return library(world, where, name, f"int {function}(void) {{ return {number}; }}\n")


def held(ws: Path, name: str, text: bytes) -> bool:
    """Whether the library that was written holds these bytes."""
    return text in next((ws / OUT).glob(f"lib{name}-*.rlib")).read_bytes()


@pytest.mark.parametrize(
    ("source", "first", "second"),
    [
        ('core::arch::global_asm!(".section .rodata\\nB:\\n.incbin \\"DATA\\"");\n', "AAAA1111", "BBBB2222"),
        ('core::arch::global_asm!(r#".INCBIN "DATA""#);\n', "AAAA1111", "BBBB2222"),
        ('core::arch::global_asm!(".include \\"DATA\\"");\n', '.ascii "AAAA1111"\n', '.ascii "BBBB2222"\n'),
        ('core::arch::global_asm!(include_str!("code.s"));\n', "AAAA1111", "BBBB2222"),
    ],
)
def test_what_the_assembler_reads(
    rustc: Rustc, workspace: Callable[..., Path], source: str, first: str, second: str
) -> None:
    ws = workspace({"src/lib.rs": source, "src/code.s": '.incbin "DATA"\n'})
    for path in (ws / "src").iterdir():
        path.write_text(path.read_text().replace("DATA", str(ws / "data")))
    for text in (first, second, first):
        (ws / "data").write_text(text)
        rustc(ws, "a").ok()
        assert held(ws, "a", b"AAAA1111" if "AAAA" in text else b"BBBB2222")


def test_a_method_named_include_reads_nothing(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace({"src/lib.rs": 'pub fn f(b: B) { b.include("x").include (y); }\npub struct B;\nimpl B { }\n'})
    ws.joinpath("src/lib.rs").write_text(
        "pub struct B;\nimpl B { pub fn include(self, _: &str) -> B { self } }\n"
        'pub fn f(b: B) { b.include("x")\n    .include ("y"); }\n'
    )
    assert not hit(rustc(ws, "a"))
    assert hit(rustc(ws, "a"))


def test_clippy_that_looks_at_no_dependency(cargo: Cargo, workspace: Callable[..., Path]) -> None:
    """Whether it looks at a package at all hangs on what Cargo was asked for."""
    ws = workspace(
        {
            "Cargo.toml": '[workspace]\nmembers = ["a", "b"]\nresolver = "2"\n',
            "a/Cargo.toml": '[package]\nname = "a"\nversion = "0.1.0"\n[dependencies]\nb = { path = "../b" }\n',
            "a/src/lib.rs": "",
            "b/Cargo.toml": '[package]\nname = "b"\nversion = "0.1.0"\n',
            "b/src/lib.rs": "pub fn f(x: i32) -> i32 { return x; }\n",
        }
    )
    words = ["--", "--no-deps", "-D", "warnings"]
    for warm in ("0", "1"):
        env = {"KACHE_WARM_TARGETS": warm, "KACHE_TAKE_UNITS": warm}
        assert cargo("clippy", "-p", "a", *words, cwd=ws, env={**env, "CARGO_TARGET_DIR": f"t1-{warm}"}).returncode == 0
        cargo.world.run([cargo.kache.path, "save"], cwd=ws, env={**env, "CARGO_TARGET_DIR": f"t1-{warm}"})
        assert (
            cargo("clippy", "-p", "b", *words, cwd=ws, env={**env, "CARGO_TARGET_DIR": f"t2-{warm}"}).returncode == 101
        )


@pytest.mark.parametrize("name", ["MY-VAR", "PWD", "SHLVL"])
def test_a_variable_that_a_shell_takes_or_changes(
    kache_file: Kache, rustc: Rustc, workspace: Callable[..., Path], name: str
) -> None:
    """kache is started by a shell, the compiler gets what Cargo gave."""
    ws = workspace({"src/lib.rs": f'pub static N: Option<&str> = option_env!("{name}");\n'})
    parent = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
    for value in ("one1111", "two2222", "one1111"):
        words = rustc.words(ws, "a")
        env = {**rustc.environment(ws, "a"), name: value}
        rustc.world.run([sys.executable, "-c", parent, kache_file.path, *words], cwd=ws, env=env).ok()
        assert held(ws, "a", value.encode())


def test_the_way_to_the_libraries(rustc: Rustc, world: World) -> None:
    """-C rpath: from the program to the toolchain, so from another depth it is another one."""
    for place in ("x/ws", "x/y/z/w/ws"):
        ws = world.workspace({"src/main.rs": 'fn main() { println!("1"); }\n'}, place)
        assert rustc.program(ws, "-Crpath", "-Cprefer-dynamic") == "1\n"


def test_a_checkout_that_is_called_like_a_directory_of_rustc_s(rustc: Rustc, world: World) -> None:
    ws = world.workspace({"src/main.rs": MAIN}, "rustc-tools")
    for number in (1, 2):
        answering(world, ws / "libs", number)
        assert rustc.program(ws, f"-Lnative={ws}/libs", "-lfoo") == f"{number}\n"


def test_a_library_under_another_name(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """-l static=foo:bar links bar where the source says foo."""
    source = '#[link(name = "foo", kind = "static")]\n' + MAIN
    ws = workspace({"src/lib.rs": source.replace("fn main() {", "pub fn f() {")})
    answering(rustc.world, ws / "libs", 9, "foo")
    for number in (1, 2):
        answering(rustc.world, ws / "libs", number, "bar")
        rustc(ws, "a", f"-Lnative={ws}/libs", "-lstatic=foo:bar").ok()
        code = rustc.world.run(["objdump", "-d", next((ws / OUT).glob("liba-*.rlib"))]).stdout
        assert f"mov    $0x{number},%eax" in code


BUNDLED = {
    "an included file": {
        "src/lib.rs": '#[link(name = "fa", kind = "static")] extern "C" { pub fn fa() -> i32; }\ninclude!("ffi.in");\n',
        "src/ffi.in": '#[link(name = "fb", kind = "static")] extern "C" { pub fn fb() -> i32; }\n',
    },
    "a macro's": {
        "src/lib.rs": 'macro_rules! l { ($n:literal) => { #[link(name = $n, kind = "static")] '
        'extern "C" { pub fn fb() -> i32; } } }\nl!("fb");\n'
    },
    "a raw string": {
        "src/lib.rs": '#[link(name = "fa", kind = "static")] extern "C" { pub fn fa() -> i32; }\n'
        '#[link(name = r"fb", kind = "static")] extern "C" { pub fn fb() -> i32; }\n'
    },
}


@pytest.mark.parametrize("words", [[], ["-lstatic=fa"]], ids=["by attributes", "by an argument too"])
@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_a_bundled_library_that_the_sources_hide(
    rustc: Rustc, workspace: Callable[..., Path], name: str, words: Sequence[str]
) -> None:
    files: Dict[str, str] = dict(BUNDLED[name])
    if words:
        files["src/lib.rs"] = files["src/lib.rs"].replace('#[link(name = "fa", kind = "static")] ', "")
    ws = workspace(files)
    answering(rustc.world, ws / "libs", 9, "fa", "fa")
    for number in (1, 2):
        answering(rustc.world, ws / "libs", number, "fb", "fb")
        rustc(ws, "a", f"-Lnative={ws}/libs", *words).ok()
        code = rustc.world.run(["objdump", "-d", next((ws / OUT).glob("liba-*.rlib"))]).stdout
        assert f"mov    $0x{number},%eax" in code


def test_a_bundled_object_that_is_called_like_rustc_s_own(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace(
        {"src/lib.rs": 'macro_rules! l { ($n:literal) => { #[link(name = $n, kind = "static")] '
         'extern "C" { pub fn fb() -> i32; } } }\nl!("fb");\n'}
    )  # fmt: skip
    libs = ws / "libs"
    for number in (1, 2):
        answering(rustc.world, libs, number, "fb", "fb").unlink()
        (libs / "fb.o").rename(libs / "fb.rcgu.o")
        rustc.world.run(["ar", "crD", libs / "libfb.a", libs / "fb.rcgu.o"]).ok()
        rustc(ws, "a", f"-Lnative={libs}").ok()
        code = rustc.world.run(["objdump", "-d", next((ws / OUT).glob("liba-*.rlib"))]).stdout
        assert f"mov    $0x{number},%eax" in code


def test_a_shared_library_that_is_a_script(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace({"src/main.rs": MAIN})
    for number in (1, 2):
        real = answering(rustc.world, ws / "real", number)
        (ws / "libs").mkdir(exist_ok=True)
        (ws / "libs" / "libfoo.so").write_text(f"INPUT({real})\n")
        assert rustc.program(ws, f"-Lnative={ws}/libs", "-lfoo") == f"{number}\n"


@pytest.mark.parametrize(
    "words", [["-Clink-arg=-Wl,-T,x.ld"], ["-Clink-arg=-Wl,--script=x.ld"], ["-Clink-args=-T x.ld"]]
)
def test_a_script_that_the_linker_looks_for(rustc: Rustc, workspace: Callable[..., Path], words: List[str]) -> None:
    ws = workspace({"src/main.rs": "fn main() {}\n", "ld/x.ld": ""})
    line = [f"-Clink-arg=-L{ws}/ld", *words]
    for number in (1, 2):
        (ws / "ld/x.ld").write_text(f"SECTIONS {{ .own : {{ BYTE({number}) }} }} INSERT AFTER .data;\n")
        assert not hit(rustc(ws, "app", *line, source="src/main.rs", kind="bin", emit="dep-info,link"))


@pytest.mark.parametrize("option", ["-Map={ws}/side", "--dependency-file={ws}/side"])
def test_a_file_that_the_linker_writes_besides(rustc: Rustc, workspace: Callable[..., Path], option: str) -> None:
    ws = workspace({"src/main.rs": "fn main() {}\n"})
    word = "-Clink-arg=-Wl," + option.format(ws=ws)
    for _ in range(2):
        rustc(ws, "app", word, source="src/main.rs", kind="bin", emit="dep-info,link").ok()
        assert (ws / "side").exists()
        (ws / "side").unlink()
        shutil.rmtree(ws / OUT)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"CCC_OVERRIDE_OPTIONS": "+-Wl,--defsym=more=1"}, ["-Clinker=clang"]),
        ({"LDEMULATION": "elf_x86_64"}, []),
        ({"GNUTARGET": "elf64-x86-64"}, []),
        ({"LLD_VERSION": "x"}, []),
    ],
    ids=str,
)
def test_a_variable_that_the_linker_reads(
    rustc: Rustc,
    workspace: Callable[..., Path],
    require_tool: Callable[[str], str],
    env: Dict[str, str],
    words: List[str],
) -> None:
    require_tool("clang")
    ws = workspace({"src/main.rs": "fn main() {}\n"})

    def linked(env: Dict[str, str]) -> bool:
        return hit(rustc(ws, "app", *words, source="src/main.rs", kind="bin", emit="dep-info,link", env=env))

    assert not linked({})
    assert linked({})
    assert not linked(env)


@pytest.mark.parametrize("spelled", ["src/./lib.rs", "./src/lib.rs", "src//lib.rs", "{ws}/src/lib.rs"])
def test_the_source_is_named_as_it_was_given(rustc: Rustc, workspace: Callable[..., Path], spelled: str) -> None:
    ws = workspace({"src/lib.rs": "pub fn f() -> &'static str { file!() }\n"})
    rustc(ws, "a").ok()
    rustc(ws, "a", source=spelled.format(ws=ws)).ok()
    text = next((ws / OUT).glob("a-*.d")).read_text()
    shutil.rmtree(ws / OUT)
    rustc(ws, "a", source=spelled.format(ws=ws), wrapper=False).ok()
    assert text == next((ws / OUT).glob("a-*.d")).read_text()


def test_a_macro_that_is_found_by_a_library_path(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace(
        {
            "mac/src/lib.rs": "extern crate proc_macro;\nuse proc_macro::TokenStream;\n"
            "#[proc_macro] pub fn m(_: TokenStream) -> TokenStream { NUMBER.to_string().parse().unwrap() }\n",
            "src/main.rs": 'fn main() { println!("{}", mac::m!()); }\n',
        }
    )
    text = (ws / "mac/src/lib.rs").read_text()
    for number in (1, 2):
        (ws / "mac/src/lib.rs").write_text(text.replace("NUMBER", f"{number}u8"))
        words = [
            "--crate-name=mac",
            "--crate-type=proc-macro",
            "--edition=2021",
            "mac/src/lib.rs",
            "--out-dir",
            "mac/out",
        ]
        rustc.world.run(["rustc", *words], cwd=ws).ok()
        assert rustc.program(ws, "--extern", "mac", f"-L{ws}/mac/out") == f"{number}\n"


def test_a_source_behind_two_dashes(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace({"src/main.rs": "fn main() {}\n"})
    words = rustc.words(ws, "app", source="src/main.rs", kind="bin", emit="dep-info,link")
    words.remove("src/main.rs")
    for _ in range(2):
        run = rustc.world.run([rustc.kache.path, *words, "--", "src/main.rs"], cwd=ws, env=rustc.environment(ws, "app"))
        run.ok()


def test_checksums_in_the_dep_info(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace({"src/lib.rs": "pub fn f() {}\n"})
    for _ in range(2):
        rustc(ws, "a", "-Zchecksum-hash-algorithm=blake3", env={"RUSTC_BOOTSTRAP": "1"}).ok()
        assert "# checksum:" in next((ws / OUT).glob("a-*.d")).read_text()


READING = r"""
extern crate proc_macro;
use proc_macro::TokenStream;
#[proc_macro]
pub fn look(_: TokenStream) -> TokenStream {
    let base = std::path::PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap());
    let text = std::fs::read_to_string(base.join("snippets/a.rs")).unwrap();
    let mut names: Vec<String> = std::fs::read_dir(base.join("dirs")).unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    format!("{:?}", format!("{} {}", text.trim(), names.join(","))).parse().unwrap()
}
"""


def test_what_else_a_macro_sees_of_its_package(cargo: Cargo, workspace: Callable[..., Path]) -> None:
    """Rust that is no crate's source; a directory that is empty; a second name of one."""
    ws = workspace(
        {
            "Cargo.toml": '[workspace]\nmembers = ["mac", "app"]\nresolver = "2"\n',
            "mac/Cargo.toml": '[package]\nname = "mac"\nversion = "0.1.0"\n[lib]\nproc-macro = true\n',
            "mac/src/lib.rs": READING,
            "app/Cargo.toml": '[package]\nname = "app"\nversion = "0.1.0"\n[dependencies]\nmac = { path = "../mac" }\n',
            "app/src/main.rs": 'fn main() { println!("{}", mac::look!()); }\n',
            "app/snippets/a.rs": "one",
            "app/dirs/first/file": "",
        }
    )
    env = {"KACHE_CACHE_EXECUTABLES": "1"}

    def printed() -> str:
        shutil.rmtree(ws / "target", ignore_errors=True)
        cargo("build", cwd=ws, env=env).ok()
        return cargo.world.run([ws / "target/debug/app"]).ok().stdout

    assert printed() == "one first\n"
    (ws / "app/snippets/a.rs").write_text("two")
    assert printed() == "two first\n"
    (ws / "app/dirs/second").mkdir()
    assert printed() == "two first,second\n"
    (ws / "app/dirs/third").symlink_to("first")
    assert printed() == "two first,second,third\n"
