"""What is linked or bundled: native libraries however they are named, objects, scripts, and the linker itself.

Every program here prints ``answer()`` of a C library. When the library changes, the program has to print the new
answer, whether kache understood how the library came in or compiled because it did not.
"""

import shutil
import sys
from pathlib import Path
from typing import Callable, Dict, List, Sequence

import pytest

from tests.e2e.rustc import OUT, Rustc, hit, library, script
from tests.world import Cargo, Kache, World

CALL = 'fn main() { print!("{}", unsafe { answer() }) }\n'
EXTERN = 'extern "C" { fn answer() -> i32; }\n'
BOTH_STATIC = '#[link(name = "foo", kind = "static")]\n'


SYS = "#![allow(unused)]\n" + BOTH_STATIC + EXTERN.replace("fn", "pub fn")

# ways to name a library in a source
SOURCES = [
    BOTH_STATIC + EXTERN,
    '#[link(kind = r"static", name = "foo")]\n' + EXTERN,
    '#[cfg_attr(not(no_such_cfg), link(name = "foo", kind = "static"))]\n' + EXTERN,
    '#[link(name = "foo", kind = "static", modifiers = "+whole-archive")]\n' + EXTERN,
    '#[link(name = "foo")]\n' + EXTERN,
    '#[ link ( name\n=\n"f\\u{6f}o" , kind = "static" ) ]\n' + EXTERN,
    'macro_rules! native { ($name:literal) => { #[link(name = $name, kind = "static")] '
    'extern "C" { fn answer() -> i32; } } }\nnative!("foo");\n',
    "mod sys;\nuse sys::answer;\n",
    '#[link(name = "renamed", kind = "static")]\n' + EXTERN,
]


@pytest.fixture
def kache(kache_file: Kache) -> Kache:
    """Only as it ships."""
    return kache_file


def answering(world: World, where: Path, number: int, name: str = "foo", answer: str = "answer") -> Path:
    """An archive ``lib<name>.a`` with ``int answer(void)``; the same size whatever the number."""
    return library(world, where, name, f"int {answer}(void) {{ return {number}; }}\n")


@pytest.mark.parametrize(
    "words",
    [
        ["-lstatic=foo", "-Lnative={libs}"],
        ["-l", "static=foo", "-L", "native={libs}"],
        ["-lstatic=foo", "-L{libs}"],
        ["-lstatic=foo", "-Lall={libs}"],
        ["-lstatic=foo", "-Lnative=libs"],
        ["-lstatic:+whole-archive=foo", "-Lnative={libs}"],
        ["-lstatic:+whole-archive,-bundle=foo", "-Lnative={libs}"],
        ["-lstatic:-bundle=foo", "-Lnative={libs}"],
        ["-lfoo", "-Lnative={libs}"],
        ["-ldylib=foo", "-Lnative={libs}"],
        ["-Clink-arg={libs}/libfoo.a"],
        ["-Clink-arg=libs/libfoo.a"],
        ["-Clink-arg={libs}/foo.o"],
        ["-Clink-args=-L{libs} -lfoo"],
        ["-Clink-arg=-Llibs", "-Clink-arg=-l:libfoo.a"],
        ["-Clink-arg=-Wl,{libs}/libfoo.a"],
        ["-Clink-arg=-Wl,--whole-archive,libs/libfoo.a,--no-whole-archive"],
        ["-Clink-arg=-Xlinker", "-Clink-arg={libs}/libfoo.a"],
        ["-Clink-arg=@libs/words"],
        ["-Clink-arg=-Wl,@libs/words"],
        ["-Clink-arg=libs/script.ld"],
    ],
    ids=" ".join,
)
def test_a_library_counts_however_it_is_named(
    rustc: Rustc, workspace: Callable[..., Path], words: Sequence[str]
) -> None:
    ws = workspace({"src/main.rs": EXTERN + CALL, "libs/words": "libs/libfoo.a\n"})
    (ws / "libs/script.ld").write_text(f"INPUT({ws}/libs/libfoo.a)\n")
    for number in (1, 2, 1, 2):
        answering(rustc.world, ws / "libs", number)
        assert rustc.program(ws, *[word.format(libs=ws / "libs") for word in words]) == str(number)


@pytest.mark.parametrize("source", SOURCES)
def test_a_library_counts_however_the_source_names_it(
    rustc: Rustc, workspace: Callable[..., Path], source: str
) -> None:
    ws = workspace(
        {
            "src/main.rs": source + CALL,
            "src/sys.rs": SYS,
        }
    )
    more = ["-lstatic=renamed:foo"] if "renamed" in source else []
    for number in (1, 2, 1, 2):
        answering(rustc.world, ws / "libs", number)
        assert rustc.program(ws, f"-Lnative={ws}/libs", *more) == str(number)


def test_a_bundled_library_counts_in_the_crate_that_bundles_it(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """By its content, in the key of the library crate; unchanged it is a hit."""
    ws = workspace({"src/lib.rs": 'extern "C" { pub fn answer() -> i32; }\n', "src/main.rs": "use a::answer;\n" + CALL})
    words = ["-lstatic=foo", f"-Lnative={ws}/libs"]
    expected = {1: "miss", 2: "miss"}
    for number in (1, 2, 1):
        answering(rustc.world, ws / "libs", number)
        run = rustc(ws, "a", *words)
        assert run.ok().events[0]["result"] == expected.pop(number, "local_hit")
        assert rustc.program(ws, "--extern", f"a={ws}/{OUT}/liba-0123456789abcdef.rlib") == str(number)


@pytest.mark.parametrize("source", SOURCES)
def test_a_library_that_a_source_bundles_counts(rustc: Rustc, workspace: Callable[..., Path], source: str) -> None:
    """The archive is named in the source alone; it becomes a part of the library crate."""
    files = {
        "src/lib.rs": source + "pub fn ask() -> i32 { unsafe { answer() } }\n",
        "src/main.rs": 'fn main() { print!("{}", a::ask()) }\n',
        "src/sys.rs": SYS,
    }
    ws = workspace(files)
    more = ["-lstatic=renamed:foo"] if "renamed" in source else []
    for number in (1, 2, 1):
        answering(rustc.world, ws / "libs", number)
        rustc(ws, "a", f"-Lnative={ws}/libs", *more).ok()
        words = ["--extern", f"a={ws}/{OUT}/liba-0123456789abcdef.rlib", f"-Lnative={ws}/libs"]
        assert rustc.program(ws, *words) == str(number)


@pytest.mark.parametrize("source", [BOTH_STATIC + EXTERN, "mod sys;\nuse sys::answer;\n"])
def test_a_library_that_a_source_bundles_counts_in_a_static_library(
    rustc: Rustc, workspace: Callable[..., Path], source: str
) -> None:
    """One without other crates, for those are never stored."""
    ws = workspace(
        {
            "src/lib.rs": source + '#[no_mangle]\npub extern "C" fn ask() -> i32 { unsafe { answer() } }\n',
            "src/sys.rs": SYS,
        }
    )
    found: Dict[int, bytes] = {}
    for number in (1, 2, 1):
        answering(rustc.world, ws / "libs", number)
        rustc(ws, "a", f"-Lnative={ws}/libs", kind="staticlib").ok()
        data = (ws / OUT / "liba-0123456789abcdef.a").read_bytes()
        assert found.setdefault(number, data) == data
    assert found[1] != found[2]


def test_an_unbundled_library_counts_in_the_program(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """``-bundle`` leaves it to the program, whose own arguments name only the place."""
    ws = workspace({"src/lib.rs": 'extern "C" { pub fn answer() -> i32; }\n', "src/main.rs": "use a::answer;\n" + CALL})
    for number in (1, 2, 1):
        answering(rustc.world, ws / "libs", number)
        rustc(ws, "a", "-lstatic:-bundle=foo", f"-Lnative={ws}/libs").ok()
        words = ["--extern", f"a={ws}/{OUT}/liba-0123456789abcdef.rlib", f"-Lnative={ws}/libs"]
        assert rustc.program(ws, *words) == str(number)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("bin", []),
        ("bin", ["-Clto=thin"]),
        pytest.param("bin", ["-O", "-Clto=fat"], marks=pytest.mark.soak),
        ("bin", ["-Clink-dead-code"]),
        ("cdylib", []),
        pytest.param("cdylib", ["-O", "-Clto=fat"], marks=pytest.mark.soak),
        ("staticlib", []),
        ("staticlib", ["-Clto=thin"]),
        ("dylib", []),
    ],
    ids=str,
)
def test_a_library_bundled_further_down_counts_in_what_is_linked(
    rustc: Rustc, workspace: Callable[..., Path], kind: str, words: Sequence[str]
) -> None:
    """``low`` bundles it and changes; ``mid`` does not, and of these two the program names only ``mid``."""
    ws = workspace(
        {
            "src/low.rs": 'extern "C" { pub fn answer() -> i32; }\n',
            "src/mid.rs": "#[inline(never)] pub fn ask() -> i32 { unsafe { low::answer() } }\n",
            "src/main.rs": '#[no_mangle] pub extern "C" fn asked() -> i32 { mid::ask() }\n'
            'pub fn main() { print!("{}", asked()) }\n',
        }
    )
    low, mid = (ws / OUT / f"lib{name}-0123456789abcdef.rlib" for name in ("low", "mid"))
    between = set()
    for number in (1, 2, 1):
        answering(rustc.world, ws / "libs", number)
        rustc(ws, "low", "-lstatic=foo", "-Lnative=libs", source="src/low.rs").ok()
        rustc(ws, "mid", "--extern", f"low={low.with_suffix('.rmeta')}", source="src/mid.rs").ok()
        between.add(mid.read_bytes())
        line = [*words, "--extern", f"mid={mid}"]
        run = rustc(ws, "app", *line, source="src/main.rs", kind=kind, emit="dep-info,link").ok()
        if kind == "bin":
            assert rustc.printed(ws) == str(number)
        elif kind == "staticlib":
            call = ws.parent / "call.c"
            call.write_text(
                '#include <stdio.h>\nint asked(void); int main(void) { printf("%d", asked()); return 0; }\n'
            )
            link = ["cc", "-o", "call", "call.c", f"{ws}/{OUT}/libapp-0123456789abcdef.a", "-lpthread", "-ldl", "-lm"]
            rustc.world.run([*link, "-lgcc_s"], cwd=ws.parent).ok()
            assert rustc.world.run([ws.parent / "call"]).ok().stdout == str(number)
        else:
            # loaded in a process of its own: a library of this name is loaded once
            load = f"import ctypes; print(ctypes.CDLL('{ws}/{OUT}/libapp-0123456789abcdef.so').asked(), end='')"
            path = {"LD_LIBRARY_PATH": rustc.world.run(["rustc", "--print=sysroot"]).ok().stdout.strip() + "/lib"}
            assert rustc.world.run([sys.executable, "-c", load], env=path).ok().stdout == str(number)
        assert run.returncode == 0
    assert len(between) == 1, "the crate between is the same, byte for byte"


def test_a_library_that_a_dependency_asks_the_linker_for_counts(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """By an attribute in the dependency's source; the program's own arguments name only the place."""
    ws = workspace(
        {
            "src/lib.rs": '#[link(name = "foo")] extern "C" { pub fn answer() -> i32; }\n',
            "src/main.rs": "use a::answer;\n" + CALL,
        }
    )
    rustc(ws, "a").ok()
    for number in (1, 2, 1):
        answering(rustc.world, ws / "libs", number)
        words = ["--extern", f"a={ws}/{OUT}/liba-0123456789abcdef.rlib", "-Lnative=libs"]
        assert rustc.program(ws, *words) == str(number)


@pytest.mark.parametrize("kind", ["static=", ""])
def test_a_library_that_appears_in_an_earlier_directory_is_the_one(
    rustc: Rustc, workspace: Callable[..., Path], kind: str
) -> None:
    ws = workspace({"src/main.rs": EXTERN + CALL, "first/keep": ""})
    words = [f"-l{kind}foo", f"-Lnative={ws}/first", f"-Lnative={ws}/second"]
    answering(rustc.world, ws / "second", 2)
    assert rustc.program(ws, *words) == "2"
    archive = answering(rustc.world, ws / "first", 1)
    assert rustc.program(ws, *words) == "1"
    answering(rustc.world, ws / "first", 3)
    assert rustc.program(ws, *words) == "3"
    archive.unlink()
    assert rustc.program(ws, *words) == "2"


@pytest.mark.parametrize(
    "words", [["-lstatic=foo", "-Lnative=libs"], ["-lfoo", "-Llibs"], ["-Clink-arg=libs/libfoo.a"]], ids=" ".join
)
def test_a_thin_archive_is_what_its_members_are(
    rustc: Rustc, workspace: Callable[..., Path], words: Sequence[str]
) -> None:
    """Its own bytes stay the same when a member changes."""
    ws = workspace({"src/main.rs": EXTERN + CALL})
    answering(rustc.world, ws / "libs", 1).unlink()
    rustc.world.run(["ar", "crDT", "libfoo.a", "foo.o"], cwd=ws / "libs").ok()
    thin = (ws / "libs/libfoo.a").read_bytes()
    for number in (1, 2, 1):
        (ws / "libs/foo.c").write_text(f"int answer(void) {{ return {number}; }}\n")
        rustc.world.run(["cc", "-c", "-o", ws / "libs/foo.o", ws / "libs/foo.c"]).ok()
        assert rustc.program(ws, *words) == str(number)
    assert (ws / "libs/libfoo.a").read_bytes() == thin


def test_a_shared_library_counts_by_what_the_linker_takes_from_it(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """Its soname goes into the program."""
    ws = workspace({"src/main.rs": EXTERN + CALL, "libs/foo.c": "int answer(void) { return 1; }\n"})
    words = ["-lfoo", f"-Lnative={ws}/libs"]
    for soname in ("libfoo.so.1", "libfoo.so.2", "libfoo.so.1"):
        make = f"cc -shared -Wl,-soname,{soname} -o libfoo.so foo.c"
        rustc.world.run(make.split(), cwd=ws / "libs").ok()
        rustc(ws, "app", *words, source="src/main.rs", kind="bin", emit="dep-info,link").ok()
        assert soname.encode() in (ws / OUT / "app-0123456789abcdef").read_bytes()


def test_a_library_found_through_the_environment_counts(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """gcc and clang search LIBRARY_PATH."""
    ws = workspace({"src/main.rs": EXTERN + CALL})
    for number in (1, 2, 1):
        answering(rustc.world, ws / f"libs{number}", number)
        assert rustc.program(ws, "-lfoo", env={"LIBRARY_PATH": f"{ws}/libs{number}"}) == str(number)
    answering(rustc.world, ws / "libs1", 3)
    assert rustc.program(ws, "-lfoo", env={"LIBRARY_PATH": f"{ws}/libs1"}) == "3"


def test_a_changed_c_library_reaches_the_program_past_an_unchanged_crate(
    cargo: Cargo, workspace: Callable[..., Path]
) -> None:
    """A build script bundles C into one crate; the Rust sources, and the crate between it and the program, stay."""
    member = '[package]\nname = "{}"\nversion = "0.1.0"\nedition = "2021"\n'
    build = """
        use std::process::Command;
        fn main() {
            let out = std::env::var("OUT_DIR").unwrap();
            println!("cargo:rerun-if-changed=c/foo.c");
            let object = format!("{out}/foo.o");
            assert!(Command::new("cc").args(["-c", "-o", &object, "c/foo.c"]).status().unwrap().success());
            let archive = format!("{out}/libfoo.a");
            let _ = std::fs::remove_file(&archive);
            assert!(Command::new("ar").args(["crD", &archive, &object]).status().unwrap().success());
            println!("cargo:rustc-link-search=native={out}");
            println!("cargo:rustc-link-lib=static=foo");
        }
        """
    files: Dict[str, str] = {
        "Cargo.toml": '[workspace]\nmembers = ["app", "mid", "sys"]\nresolver = "2"\n[profile.dev]\ndebug = 0\n',
        "app/Cargo.toml": member.format("app") + '[dependencies]\nmid = { path = "../mid" }\n',
        "app/src/main.rs": 'fn main() { print!("{}", mid::ask()) }\n',
        "mid/Cargo.toml": member.format("mid") + '[dependencies]\nsys = { path = "../sys" }\n',
        "mid/src/lib.rs": "pub fn ask() -> i32 { unsafe { sys::answer() } }\n",
        "sys/Cargo.toml": member.format("sys") + 'links = "foo"\n',
        "sys/src/lib.rs": 'extern "C" { pub fn answer() -> i32; }\n',
        "sys/build.rs": build,
        "sys/c/foo.c": "int answer(void) { return 1; }\n",
    }
    ws = workspace(files)
    env = {"KACHE_CACHE_EXECUTABLES": "1"}

    def printed(directory: Path) -> str:
        runs.append(cargo("build", cwd=directory, env=env).ok())
        return cargo.world.run([directory / "target/debug/app"]).ok().stdout

    runs: List[object] = []
    assert printed(ws) == "1"
    (ws / "sys/c/foo.c").write_text("int answer(void) { return 2; }\n")
    assert printed(ws) == "2"
    shutil.rmtree(ws / "target")
    assert printed(ws) == "2"
    other = workspace(files, name="another/deeper/ws")
    assert printed(other) == "1"
    (other / "sys/c/foo.c").write_text("int answer(void) { return 2; }\n")
    assert printed(other) == "2"


@pytest.mark.parametrize(
    "words",
    [
        ["-Clink-arg=-B{libs}", "-Clink-arg=-lfoo"],
        ["-Clink-args=-B {libs} -lfoo"],
        ["-Clink-arg=-Wl,-L,{libs}", "-Clink-arg=-lfoo"],
        ["-Clink-arg=-Wl,-L{libs},-lfoo"],
        ["-Clink-arg=-Wl,--library-path={libs},--library=foo"],
        ["-Clink-arg=-Xlinker", "-Clink-arg=-L{libs}", "-Clink-arg=-lfoo"],
        ["-Clink-arg=-L{libs}", "-Clink-arg=-l:libfoo.a"],
        ["-Clink-arg=-lfoo"],
    ],
    ids=" ".join,
)
def test_a_library_counts_however_the_linker_is_told_of_it(
    rustc: Rustc, workspace: Callable[..., Path], words: Sequence[str]
) -> None:
    """The last one is found by LIBRARY_PATH."""
    ws = workspace({"src/main.rs": EXTERN + CALL})
    libs = rustc.world.root / "libs"
    line = [word.format(libs=libs) for word in words]
    env = {"LIBRARY_PATH": str(libs)} if "{libs}" not in " ".join(words) else {}
    for number in (1, 2, 1):
        answering(rustc.world, libs, number)
        assert rustc.program(ws, *line, env=env) == str(number)


# files that link arguments name


@pytest.mark.parametrize(
    "words",
    [
        ["-Clink-arg=-Wl,--version-script=file"],
        ["-Clink-arg=-Wl,--version-script,file"],
        ["-Clink-arg=-Wl,-z,now,--version-script={ws}/file"],
        ["-Clink-args=-Wl,-z,now -Wl,--version-script=file"],
        ["-Clink-arg=-Xlinker", "-Clink-arg=--version-script=file"],
        ["-Clink-arg=-Xlinker", "-Clink-arg=--version-script", "-Clink-arg=-Xlinker", "-Clink-arg=file"],
        ["-Clink-arg=-Wl,--dynamic-list=file"],
        ["-Clink-arg=-Wl,-T,file"],
        ["-Clink-arg=-Tfile"],
        ["-Clink-arg=-T", "-Clink-arg=file"],
        ["-Clink-arg=-Wl,--script=file"],
        ["-Clink-arg=-Wl,-Tfile"],
        ["-Clink-arg=-Wl,-T,outer"],
        ["-Clink-arg=-specs={ws}/file"],
        ["-Clink-arg=@response"],
        ["-Clink-arg=-Wl,--retain-symbols-file=file"],
        ["-Clink-arg=-Wl,--symbol-ordering-file=file"],
    ],
    ids=" ".join,
)
def test_a_file_that_a_link_argument_names_counts(
    rustc: Rustc, workspace: Callable[..., Path], words: Sequence[str]
) -> None:
    joined = " ".join(words)
    if "version-script" in joined or "response" in joined:
        texts = ["{ global: one; local: *; };\n", "{ global: two; local: *; };\n"]
    elif "dynamic-list" in joined:
        texts = ["{ one; };\n", "{ two; };\n"]
    elif "specs" in joined:
        texts = ["*own_name:\n-z now\n\n", "*own_name:\n-z lazy\n\n"]
    elif "symbols" in joined or "order" in joined:
        texts = ["one\n", "two\n"]
    else:
        texts = [f"SECTIONS {{ .own : {{ BYTE({number}) }} }} INSERT AFTER .data;\n" for number in (1, 2)]
    ws = workspace(
        {
            "src/lib.rs": '#[no_mangle] pub extern "C" fn one() {}\n#[no_mangle] pub extern "C" fn two() {}\n',
            "outer": "INCLUDE file\n",
            "response": "-Wl,--version-script=file\n",
        }
    )
    line = [word.format(ws=ws) for word in words]
    for text in texts:
        (ws / "file").write_text(text)
        assert not hit(rustc(ws, "a", *line, kind="cdylib", emit="dep-info,link"))


# the linker


@pytest.mark.parametrize(
    "words", [["-Clinker={fake}/mycc"], ["-Clinker=mycc"], ["-C", "linker=mycc"], []], ids=" ".join
)
def test_the_linker_counts_by_what_it_says_it_is(
    rustc: Rustc, workspace: Callable[..., Path], words: Sequence[str]
) -> None:
    """Named by path, by name, as the default on PATH; for what is linked and for nothing else."""
    ws = workspace({"src/lib.rs": "pub fn f() {}\n", "src/main.rs": "fn main() {}\n"})
    fake = rustc.world.root / "fake"
    name = "mycc" if words else "cc"
    real = shutil.which("cc")
    env = {"PATH": f"{fake}:{rustc.world.env['PATH']}"}
    line = [word.format(fake=fake) for word in words]

    def release(number: int) -> None:
        banner = f'echo "cc (Fake) {number}.0"; exit'
        script(fake / name, f'case "$*" in --version|-v) {banner};; esac\nexec {real} "$@"\n')

    def linked() -> bool:
        return hit(rustc(ws, "app", *line, source="src/main.rs", kind="bin", emit="dep-info,link", env=env))

    release(1)
    assert not hit(rustc(ws, "a", *line, env=env))
    assert not linked()
    assert linked()
    release(2)
    assert hit(rustc(ws, "a", *line, env=env))
    assert not linked()
    assert linked()


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["-Clink-arg=-fuse-ld=gold", "-Clink-arg=-B{fake}"], "ld.gold"),
        (["-Clink-arg=-B{fake}", "-Clink-arg=-fuse-ld=bfd"], "ld.bfd"),
        (["-Clink-args=-B {fake} -fuse-ld=bfd"], "ld.bfd"),
        (["-Clink-arg=-B", "-Clink-arg={fake}", "-Clink-arg=-fuse-ld=gold"], "ld.gold"),
    ],
    ids=str,
)
def test_the_program_behind_the_linker_driver_counts(
    rustc: Rustc, workspace: Callable[..., Path], require_tool: Callable[[str], str], words: Sequence[str], name: str
) -> None:
    ws = workspace({"src/main.rs": "fn main() {}\n"})
    fake = rustc.world.root / "fake"
    real = require_tool(name)

    used = rustc.world.root / "used"

    def release(number: int) -> None:
        banner = f'echo "GNU ld (Fake) {number}.0"; exit'
        script(fake / name, f'case "$*" in --version|-v) {banner};; esac\ntouch {used}\nexec {real} "$@"\n')

    def linked() -> bool:
        line = [word.format(fake=fake) for word in words]
        return hit(rustc(ws, "app", *line, source="src/main.rs", kind="bin", emit="dep-info,link"))

    release(1)
    assert not linked()
    assert used.exists(), "rustc did not link with it"
    release(2)
    assert not linked()


def test_a_linker_that_says_nothing_new_but_is_another_file_counts(
    rustc: Rustc, workspace: Callable[..., Path]
) -> None:
    """A wrapper script around cc, edited: it adds a flag now."""
    ws = workspace({"src/main.rs": EXTERN + CALL})
    linker = rustc.world.root / "mycc"
    for number in (1, 2, 1):
        answering(rustc.world, ws / f"libs{number}", number)
        script(linker, f'exec cc "$@" {ws}/libs{number}/libfoo.a\n')
        assert rustc.program(ws, f"-Clinker={linker}") == str(number)


def test_a_program_behind_the_driver_that_says_nothing_new_counts(
    rustc: Rustc, workspace: Callable[..., Path], require_tool: Callable[[str], str]
) -> None:
    """A wrapper script around ld, edited: it links another archive now."""
    ws = workspace({"src/main.rs": EXTERN + CALL})
    fake = rustc.world.root / "fake"
    real = require_tool("ld.bfd")
    for number in (1, 2, 1):
        answering(rustc.world, ws / f"libs{number}", number)
        script(fake / "ld.bfd", f'exec {real} "$@" {ws}/libs{number}/libfoo.a\n')
        assert rustc.program(ws, f"-Clink-arg=-B{fake}", "-Clink-arg=-fuse-ld=bfd") == str(number)


@pytest.mark.parametrize("name", ["ld.bfd", "collect-ld", "real-ld"])
def test_a_program_that_appears_where_the_driver_looks_first_counts(
    rustc: Rustc, workspace: Callable[..., Path], require_tool: Callable[[str], str], name: str
) -> None:
    ws = workspace({"src/main.rs": EXTERN + CALL})
    fake = rustc.world.root / "fake"
    fake.mkdir()
    real = require_tool("ld.bfd")
    for number in (1, 2):
        answering(rustc.world, ws / f"libs{number}", number)
    words = [f"-Clink-arg=-B{fake}", "-Clink-arg=-Wl,--allow-multiple-definition", f"-Clink-arg={ws}/libs1/libfoo.a"]
    words += ["-Clink-arg=-fuse-ld=bfd"] if name == "ld.bfd" else []
    for number in (1, 1, 2, 1):
        (fake / name).unlink(missing_ok=True)
        if number == 2:
            script(fake / name, f'exec {real} --whole-archive {ws}/libs2/libfoo.a --no-whole-archive "$@"\n')
        assert rustc.program(ws, *words) == str(number)


def test_a_startup_file_that_appears_where_the_driver_looks_first_counts(
    rustc: Rustc, workspace: Callable[..., Path], require_tool: Callable[[str], str]
) -> None:
    ws = workspace({"src/main.rs": "fn main() {}\n"})
    cc = require_tool("cc")
    own = rustc.world.root / "own"
    own.mkdir()
    env = {"LIBRARY_PATH": str(own)}

    def linked() -> bool:
        words = [f"-Clink-arg=-B{own}"]
        return hit(rustc(ws, "app", *words, source="src/main.rs", kind="bin", emit="dep-info,link", env=env))

    assert not linked()
    assert linked()
    real = rustc.world.run([cc, "-print-file-name=Scrt1.o"]).ok().stdout.strip()
    (own / "more.c").write_text('const char more[] = "more";\n')
    rustc.world.run([cc, "-c", own / "more.c", "-o", own / "more.o"]).ok()
    rustc.world.run(["ld", "-r", real, own / "more.o", "-o", own / "Scrt1.o"]).ok()
    assert not linked()
    assert linked()


def test_search_by_compiler_path_counts(
    rustc: Rustc, workspace: Callable[..., Path], require_tool: Callable[[str], str]
) -> None:
    """gcc looks for its linkers in COMPILER_PATH."""
    ws = workspace({"src/main.rs": "fn main() {}\n"})
    real = require_tool("ld.bfd")
    for number in ("1", "2"):
        fake = rustc.world.root / f"fake{number}"
        banner = f'case "$*" in --version|-v) echo "GNU ld (Fake) {number}"; exit;; esac\n'
        script(fake / "ld.bfd", f'{banner}touch {fake}/used\nexec {real} "$@"\n')
        words = ["-Clink-arg=-fuse-ld=bfd"]
        env = {"COMPILER_PATH": str(fake)}
        assert not hit(rustc(ws, "app", *words, source="src/main.rs", kind="bin", emit="dep-info,link", env=env))
        assert (fake / "used").exists()
