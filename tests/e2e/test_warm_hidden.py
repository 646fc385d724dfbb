"""What a unit hangs on and no fingerprint of Cargo's knows: after such a change, what is warmed is what Cargo makes.

Each case is a package whose program prints what it was made of: built and kept, changed, and built in a new target.
"""

import os
import shutil
import time
from pathlib import Path
from typing import Callable, Dict, Optional

import pytest

from tests.e2e.test_warm import Builder, remove_target, warmed
from tests.world import Cargo, Kache, World

PRINTING = 'fn main() { println!("{}", env!("V")); }\n'


def script(declared: str, value: str) -> str:
    """A build script that declares a path and sets V to an expression's value."""
    return (
        f'fn main() {{ println!("cargo:rerun-if-changed={declared}"); let v: String = {value}; '
        'println!("cargo:rustc-env=V={}", v.trim()); }\n'
    )


def read(path: str) -> str:
    return f'std::fs::read_to_string("{path}").unwrap()'


def manifest(name: str, more: str = "") -> str:
    return f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n{more}'


@pytest.fixture
def kache(kache_file: Kache) -> Kache:
    return kache_file


@pytest.fixture
def builder(world: World, cargo: Cargo) -> Builder:
    return Builder(world, cargo)


class Site:
    """A workspace, built with kache and alone."""

    def __init__(self, builder: Builder, ws: Path) -> None:
        self.builder = builder
        self.ws = ws

    def prints(self, program: str = "app", target: Optional[Path] = None) -> str:
        return self.builder.world.run([(target or self.ws / "target") / "debug" / program], cwd=self.ws).ok().stdout

    def keep(self) -> None:
        self.builder.build(self.ws)
        self.builder.save(self.ws)

    def compare(self, program: str = "app") -> str:
        """What a program of a warmed target prints, which must be what Cargo alone makes."""
        remove_target(self.ws)
        self.builder.build(self.ws)
        found = self.prints(program)
        alone = self.ws.parent / "alone"
        shutil.rmtree(alone, ignore_errors=True)
        env = {**self.builder.env, "RUSTC_WRAPPER": "", "CARGO_TARGET_DIR": str(alone)}
        self.builder.world.run(["cargo", "build"], cwd=self.ws, env=env).ok()
        assert found == self.prints(program, alone)
        return found


@pytest.fixture
def site(builder: Builder, workspace: Callable[..., Path]) -> Callable[[Dict[str, str]], Site]:
    def make(files: Dict[str, str]) -> Site:
        return Site(builder, workspace(files))

    return make


Make = Callable[[Dict[str, str]], Site]

PACKAGE = {"Cargo.toml": manifest("app"), "src/main.rs": PRINTING}


@pytest.mark.parametrize("name", ["src/api.rs", "README.md", "LICENSE"])
def test_what_a_script_reads_of_its_package(site: Make, name: str) -> None:
    it = site({**PACKAGE, "build.rs": script("build.rs", read(name)), name: "// one"})
    it.keep()
    (it.ws / name).write_text("// two")
    assert it.compare() == "// two\n"


def test_a_declared_directory_of_many_files(site: Make) -> None:
    it = site({**PACKAGE, "build.rs": script("assets", read("assets/7")), "assets/7": "aaa"})
    for number in range(100, 5101):
        (it.ws / "assets" / str(number)).write_text("aaa")
    it.keep()
    (it.ws / "assets/7").write_text("bbb")
    assert it.compare() == "bbb\n"


@pytest.mark.parametrize(
    "how", ["describe --tags", "rev-list --count HEAD", "branch --show-current", "log -1 --format=%s"]
)
def test_a_version_from_git(site: Make, how: str) -> None:
    words = ", ".join(f'"{word}"' for word in how.split())
    value = f'String::from_utf8(std::process::Command::new("git").args([{words}]).output().unwrap().stdout).unwrap()'
    it = site(
        {
            "Cargo.toml": manifest("app", '[workspace]\nmembers = ["b"]\n'),
            "src/main.rs": PRINTING,
            "build.rs": script("build.rs", value),
            "b/Cargo.toml": manifest("b"),
            "b/src/lib.rs": "",
            ".gitignore": "target\n",
        }
    )
    run = it.builder.world.run

    def git(*words: str) -> None:
        run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=it.ws).ok()

    run(["cargo", "generate-lockfile"], cwd=it.ws).ok()
    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "first")
    git("tag", "v1.0")
    it.keep()
    git("checkout", "-qb", "other")
    (it.ws / "b/src/lib.rs").write_text("//\n")
    git("commit", "-qam", "second")
    git("tag", "v1.1")
    it.compare()


def test_a_tag_on_the_same_commit(site: Make) -> None:
    said = 'String::from_utf8(std::process::Command::new("git").args(["tag"]).output().unwrap().stdout).unwrap()'
    value = said + '.replace("\\n", " ")'
    it = site({**PACKAGE, "build.rs": script("build.rs", value), ".gitignore": "target\n"})
    run = it.builder.world.run
    run(["cargo", "generate-lockfile"], cwd=it.ws).ok()
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"], ["tag", "v1"]):
        run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=it.ws).ok()
    it.keep()
    run(["git", "tag", "v2"], cwd=it.ws).ok()
    assert it.compare() == "v1 v2\n"


def test_a_script_that_packages_share(site: Make) -> None:
    """What it declares lies in the package that it runs for."""
    it = site(
        {
            "Cargo.toml": manifest("app", '[workspace]\nmembers = ["a"]\n[dependencies]\na = { path = "a" }\n'),
            "build.rs": script("config.txt", read("config.txt")),
            "config.txt": "r1",
            "src/main.rs": 'fn main() { println!("{} {}", env!("V"), a::A); }\n',
            "a/Cargo.toml": manifest("a").replace("edition", 'build = "../build.rs"\nedition'),
            "a/config.txt": "a1",
            "a/src/lib.rs": 'pub const A: &str = env!("V");\n',
        }
    )
    it.keep()
    (it.ws / "a/config.txt").write_text("a2")
    assert it.compare() == "r1 a2\n"


def test_two_workspaces_in_one_target_directory(builder: Builder, world: World) -> None:
    target = world.root / "shared"
    builder.env["CARGO_TARGET_DIR"] = str(target)
    source = 'fn main() { println!("{} v1", env!("CARGO_PKG_NAME")); }\n'
    places = [world.workspace({"Cargo.toml": manifest(name), "src/main.rs": source}, name) for name in ("p1", "p2")]
    for place in places:
        builder.build(place)
    builder.save(places[0])
    (places[1] / "src/main.rs").write_text(source.replace("v1", "v2"))
    shutil.rmtree(target)
    for place in places:
        builder.build(place)
    assert world.run([target / "debug/p2"]).ok().stdout == "p2 v2\n"


def test_a_file_in_the_target_directory_that_nobody_knows(site: Make) -> None:
    text = 'include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/target/gen/x.txt"))'
    it = site({"Cargo.toml": manifest("app"), "src/main.rs": f'fn main() {{ println!("{{}}", {text}); }}\n'})
    generated = it.ws / "target/gen/x.txt"
    for number in ("v1", "v2"):
        shutil.rmtree(it.ws / "target", ignore_errors=True)
        generated.parent.mkdir(parents=True)
        generated.write_text(number)
        time.sleep(0.1)
        it.keep()
        assert it.prints() == number + "\n"


def test_a_way_through_a_member_that_is_a_link(site: Make, world: World) -> None:
    it = site({"Cargo.toml": '[workspace]\nresolver = "2"\nmembers = ["app"]\n', "shared.txt": "ws"})
    elsewhere = world.workspace(
        {
            "app/Cargo.toml": manifest("app"),
            "app/src/main.rs": PRINTING,
            "app/build.rs": script("../shared.txt", read("../shared.txt")),
            "shared.txt": "e1",
        },
        "elsewhere",
    )
    (it.ws / "app").symlink_to(elsewhere / "app")
    it.keep()
    (elsewhere / "shared.txt").write_text("e2")
    assert it.compare() == "e2\n"


def test_a_link_in_a_declared_directory(site: Make, world: World) -> None:
    """Changed between the build and the keeping."""
    shared = world.root / "shared.txt"
    shared.write_text("s1")
    it = site({**PACKAGE, "build.rs": script("../assets", read("../assets/x.txt"))})
    (it.ws.parent / "assets").mkdir()
    (it.ws.parent / "assets/x.txt").symlink_to(shared)
    it.builder.build(it.ws)
    shared.write_text("s2")
    it.builder.save(it.ws)
    assert it.compare() == "s2\n"


def test_a_place_of_the_system_that_changed_before_the_keeping(site: Make, world: World) -> None:
    place = world.root / "ext"
    place.mkdir()
    (place / "a").write_text("")
    more = f'println!("cargo:rustc-link-search=native={place}"); '
    text = script("build.rs", f'std::fs::read_dir("{place}").unwrap().count().to_string()')
    it = site({**PACKAGE, "build.rs": text.replace("let v", more + "let v")})
    it.builder.build(it.ws)
    (place / "b").write_text("")
    it.builder.save(it.ws)
    assert it.compare() == "2\n"


@pytest.mark.parametrize("how", ["key_env_vars", "[env]", "a variable of C compilers"])
def test_a_kept_target_under_another_environment(site: Make, how: str) -> None:
    """The script does not run again there; a new target's would."""
    name = "CFLAGS" if how == "a variable of C compilers" else "FOO"
    compile_c = ""
    if name == "CFLAGS":
        compile_c = 'std::fs::write(std::env::var("OUT_DIR").unwrap() + "/x.o", b"\\x7fELF").unwrap(); '
    text = script("build.rs", f'std::env::var("{name}").unwrap()').replace("let v", compile_c + "let v")
    it = site({"Cargo.toml": '[workspace]\nresolver = "2"\nmembers = ["app"]\n', "app/Cargo.toml": manifest("app"),
               "app/src/main.rs": PRINTING, "app/build.rs": text})  # fmt: skip
    if how == "key_env_vars":
        it.builder.env["KACHE_KEY_ENV_VARS"] = "FOO"
    for value in ("1", "2"):
        if how == "[env]":
            (it.ws / ".cargo").mkdir(exist_ok=True)
            (it.ws / ".cargo/config.toml").write_text(f'[env]\nFOO = "{value}"\n')
        else:
            it.builder.env[name] = value
        with (it.ws / "app/src/main.rs").open("a") as file:
            file.write("//\n")
        it.keep()
    assert it.compare() == "2\n"


def test_a_kept_target_under_another_salt(site: Make) -> None:
    it = site({"Cargo.toml": manifest("app"), "src/main.rs": 'fn main() { println!("1"); }\n'})
    it.builder.env["KACHE_KEY_SALT"] = "one"
    it.builder.build(it.ws)
    it.builder.env["KACHE_KEY_SALT"] = "two"
    it.builder.save(it.ws)
    remove_target(it.ws)
    assert warmed(it.builder.build(it.ws)) == 0


def test_what_cargo_was_asked_for(site: Make) -> None:
    it = site(
        {
            "Cargo.toml": '[workspace]\nresolver = "2"\nmembers = ["a", "app"]\n',
            "a/Cargo.toml": manifest("a"),
            "a/src/lib.rs": 'pub const P: bool = option_env!("CARGO_PRIMARY_PACKAGE").is_some();\n',
            "app/Cargo.toml": manifest("app", '[dependencies]\na = { path = "../a" }\n'),
            "app/src/main.rs": 'fn main() { println!("{}", a::P); }\n',
        }
    )
    it.builder.build(it.ws, "build", "-p", "a")
    it.builder.build(it.ws, "build", "-p", "app")
    it.builder.save(it.ws)
    remove_target(it.ws)
    it.builder.build(it.ws, "build", "-p", "app")
    assert it.prints() == "false\n"


@pytest.mark.parametrize("place", ["crates", ".."])
def test_a_configuration_of_clippy_that_appears(site: Make, place: str) -> None:
    it = site(
        {
            "Cargo.toml": '[workspace]\nresolver = "2"\nmembers = ["crates/a"]\n',
            "crates/a/Cargo.toml": manifest("a"),
            "crates/a/src/lib.rs": "pub fn f(a: u8, b: u8, c: u8) -> u8 { a + b + c }\n",
        }
    )
    it.builder.build(it.ws, "clippy")
    it.builder.save(it.ws)
    remove_target(it.ws)
    (it.ws / place / "clippy.toml").write_text("too-many-arguments-threshold = 1\n")
    assert "too_many_arguments" in it.builder.build(it.ws, "clippy").stderr


def test_the_directory_that_integration_tests_write_to(site: Make) -> None:
    it = site(
        {
            "Cargo.toml": manifest("app"),
            "src/lib.rs": "",
            "tests/t.rs": '#[test] fn t() { std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/x"), '
            '"1").unwrap(); }\n',
        }
    )
    for _ in range(2):
        run = it.builder.build(it.ws, "test")
        it.builder.save(it.ws)
        remove_target(it.ws)
    assert warmed(run) > 0


def test_a_relative_way_in_what_a_script_wrote(site: Make, world: World) -> None:
    text = """
        use std::path::*;
        fn main() {
            println!("cargo:rerun-if-changed=build.rs");
            let out = PathBuf::from(std::env::var("OUT_DIR").unwrap());
            let src = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap());
            let up = out.ancestors().take_while(|a| !src.starts_with(a)).count();
            let base = out.ancestors().nth(up).unwrap();
            let rel = "../".repeat(up) + src.strip_prefix(base).unwrap().to_str().unwrap();
            let text = format!("pub const D: &str = include_str!({:?});", rel + "/data.txt");
            std::fs::write(out.join("gen.rs"), text).unwrap();
        }
    """
    main = 'include!(concat!(env!("OUT_DIR"), "/gen.rs")); fn main() { println!("{}", D); }\n'
    it = site({"Cargo.toml": manifest("app"), "build.rs": text, "src/main.rs": main, "data.txt": "d"})
    it.keep()
    deep = world.root / "deep/er/more/target"
    it.builder.env["CARGO_TARGET_DIR"] = str(deep)
    it.builder.build(it.ws)
    with (it.ws / "src/main.rs").open("a") as file:
        file.write("//\n")
    it.builder.build(it.ws)
    assert it.prints(target=deep) == "d\n"


def test_a_source_that_holds_a_path_and_its_length(site: Make, world: World) -> None:
    text = """
        fn main() {
            println!("cargo:rerun-if-changed=build.rs");
            let out = std::env::var("OUT_DIR").unwrap();
            let text = format!("pub static D: [u8; {}] = *b{:?};", out.len(), out);
            std::fs::write(format!("{out}/gen.rs"), text).unwrap();
        }
    """
    main = 'include!(concat!(env!("OUT_DIR"), "/gen.rs")); fn main() { println!("{}", D.len()); }\n'
    it = site({"Cargo.toml": manifest("app"), "build.rs": text, "src/main.rs": main})
    it.keep()
    longer = world.root / "much-longer-name/target"
    it.builder.env["CARGO_TARGET_DIR"] = str(longer)
    it.builder.build(it.ws)
    assert it.prints(target=longer) != it.prints()


def test_a_static_library_is_ones_own(site: Make, world: World, require_tool: Callable[[str], str]) -> None:
    strip = require_tool("strip")
    source = '#[no_mangle] pub extern "C" fn f() -> i32 { 1 }\n'
    it = site({"Cargo.toml": manifest("app", '[lib]\ncrate-type = ["staticlib"]\n'), "src/lib.rs": source})
    it.keep()
    libraries = []
    for name in ("one", "two"):
        it.builder.env["CARGO_TARGET_DIR"] = str(world.root / name)
        it.builder.build(it.ws)
        libraries.append(world.root / name / "debug/libapp.a")
    before = libraries[1].read_bytes()
    assert os.access(libraries[0], os.W_OK) and libraries[0].stat().st_mode & 0o200
    world.run([strip, "-g", libraries[0]]).ok()
    assert libraries[1].read_bytes() == before != libraries[0].read_bytes()


def test_a_file_that_a_script_puts_beside_the_program(site: Make) -> None:
    text = """
        fn main() {
            println!("cargo:rerun-if-changed=conf.txt");
            let out = std::path::PathBuf::from(std::env::var("OUT_DIR").unwrap());
            std::fs::copy("conf.txt", out.ancestors().nth(3).unwrap().join("conf.txt")).unwrap();
        }
    """
    main = """
        fn main() {
            let place = std::env::current_exe().unwrap();
            println!("{:?}", std::fs::read_to_string(place.parent().unwrap().join("conf.txt")).ok());
        }
    """
    it = site({"Cargo.toml": manifest("app"), "build.rs": text, "src/main.rs": main, "conf.txt": "hi"})
    it.keep()
    assert it.compare() == 'Some("hi")\n'


def test_one_odd_unit_does_not_keep_the_others_out(site: Make) -> None:
    files = {
        "Cargo.toml": '[workspace]\nresolver = "2"\nmembers = ["app", "odd"]\n',
        "app/Cargo.toml": manifest("app"),
        "app/src/main.rs": 'fn main() { println!("1"); }\n',
        "odd/Cargo.toml": manifest("odd"),
        "odd/src/lib.rs": "",
        "odd/build.rs": 'fn main() { println!("cargo:rerun-if-changed=/dev/null"); }\n',
    }
    it = site(files)
    it.keep()
    remove_target(it.ws)
    assert warmed(it.builder.build(it.ws)) > 0


def test_a_script_s_variable_that_only_a_macro_reads(site: Make) -> None:
    macro = """
        extern crate proc_macro;
        #[proc_macro]
        pub fn stamp(_: proc_macro::TokenStream) -> proc_macro::TokenStream {
            format!("{:?}", std::env::var("V").unwrap()).parse().unwrap()
        }
    """
    it = site(
        {
            "Cargo.toml": '[workspace]\nresolver = "2"\nmembers = ["app", "m"]\n',
            "VERSION": "one",
            "m/Cargo.toml": manifest("m", "[lib]\nproc-macro = true\n"),
            "m/src/lib.rs": macro,
            "app/Cargo.toml": manifest("app", '[dependencies]\nm = { path = "../m" }\n'),
            "app/build.rs": script("../VERSION", read("../VERSION")),
            "app/src/main.rs": 'fn main() { println!("{}", m::stamp!()); }\n',
        }
    )
    it.keep()
    (it.ws / "VERSION").write_text("two")
    assert it.compare() == "two\n"


def test_a_short_name_that_is_an_alias(site: Make, world: World) -> None:
    elsewhere = world.root / "elsewhere"
    it = site(
        {
            "Cargo.toml": manifest("app"),
            "src/main.rs": 'fn main() { println!("1"); }\n',
            ".cargo/config.toml": f'[alias]\nb = "build --target-dir {elsewhere}"\n',
        }
    )
    it.keep()
    remove_target(it.ws)
    it.builder.build(it.ws, "b")
    assert not (it.ws / "target").exists()
