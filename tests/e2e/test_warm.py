"""Warm targets: in a new target directory Cargo finds units Fresh, and only those that it may.

A build that was warmed is judged by Cargo itself (``-v`` says Fresh), by kache's events (no call but the warming's), by
what programs print, and by bytes: they are those of a build from an empty store at the same place.
"""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Union

import pytest

from kachelib import warm, warm_command
from kachelib.store import digest_file
from tests.world import Cargo, Kache, Run, World

# without progress lines, which may stand in the middle of one of Cargo's
ON: Dict[str, Optional[str]] = {
    "KACHE_CACHE_EXECUTABLES": "1",
    "KACHE_WARM_TARGETS": "1",
    "KACHE_PROGRESS": "never",
}

FILES: Dict[str, str] = {
    "Cargo.toml": """
        [workspace]
        members = ["app", "lib", "macros", "native", "plain"]
        resolver = "2"
        """,
    "app/Cargo.toml": """
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2021"
        [dependencies]
        lib = { path = "../lib" }
        plain = { path = "../plain" }
        native = { path = "../native" }
        """,
    "app/src/main.rs": """
        fn main() {
            println!("{} {} {} {}", lib::answer(), plain::one(), native::value(), env!("CARGO_PKG_VERSION"));
        }
        """,
    "lib/Cargo.toml": """
        [package]
        name = "lib"
        version = "0.1.0"
        edition = "2021"
        [dependencies]
        macros = { path = "../macros" }
        """,
    "lib/src/lib.rs": "pub fn answer() -> usize { macros::count!() + inner::ONE }\npub mod inner;\n",
    "lib/src/inner.rs": "pub const ONE: usize = 1;\n",
    "lib/data/a.txt": "a",
    "macros/Cargo.toml": """
        [package]
        name = "macros"
        version = "0.1.0"
        edition = "2021"
        [lib]
        proc-macro = true
        """,
    "macros/src/lib.rs": """
        #[proc_macro]
        pub fn count(_: proc_macro::TokenStream) -> proc_macro::TokenStream {
            let dir = std::env::var("CARGO_MANIFEST_DIR").unwrap();
            let n = std::fs::read_dir(dir + "/data").unwrap().count();
            format!("{}usize", n * 100).parse().unwrap()
        }
        """,
    "native/Cargo.toml": """
        [package]
        name = "native"
        version = "0.1.0"
        edition = "2021"
        build = "build.rs"
        """,
    "native/build.rs": """
        fn main() {
            println!("cargo:rerun-if-changed=input.txt");
            println!("cargo:rerun-if-changed=build.rs");
            let text = std::fs::read_to_string("input.txt").unwrap();
            let out = std::env::var("OUT_DIR").unwrap();
            std::fs::write(out + "/gen.rs", format!("pub const N: usize = {};", text.trim())).unwrap();
            if text.trim() == "7" { println!("cargo:rustc-cfg=seven"); }
        }
        """,
    "native/input.txt": "7\n",
    "native/src/lib.rs": """
        include!(concat!(env!("OUT_DIR"), "/gen.rs"));
        pub fn value() -> usize { if cfg!(seven) { N + 1000 } else { N } }
        """,
    "plain/Cargo.toml": """
        [package]
        name = "plain"
        version = "0.1.0"
        edition = "2021"
        """,
    "plain/src/lib.rs": "pub fn one() -> u8 { 1 }\n",
}

ALL = {"app", "lib", "macros", "native", "plain"}


@pytest.fixture
def ws(workspace: Callable[..., Path]) -> Path:
    return workspace(FILES)


class Builder:
    """Builds in a workspace and judges what came of it."""

    def __init__(self, world: World, cargo: Cargo) -> None:
        self.world = world
        self.cargo = cargo
        self.env = dict(ON)

    def build(self, ws: Path, *words: str) -> Run:
        """``cargo build -v``, or what ``words`` say."""
        return self.cargo(*(words or ("build",)), "-v", cwd=ws, env=self.env).ok()

    def save(self, ws: Path, *words: str) -> Dict[str, Any]:
        done = self.world.run([self.cargo.kache.path, "save", "--json", *words], cwd=ws, env=self.env).ok()
        return dict(json.loads(done.stdout))

    def explain(self, ws: Path, *words: str) -> Dict[str, Any]:
        command: List[Union[str, Path]] = [self.cargo.kache.path, "warm", "--explain", "--json", *words]
        return dict(json.loads(self.world.run(command, cwd=ws, env=self.env).ok().stdout))

    def cold(self, ws: Path, *words: str) -> Dict[str, Any]:
        """Build, keep the units, and remove the target directory."""
        self.build(ws, *words)
        options = [word for word in words[1:] if word == "--release"]
        kept = self.save(ws, *options)
        remove_target(ws)
        return kept

    def warm(self, ws: Path, *words: str) -> Run:
        """Build in a new target directory; the second build there must be all Fresh."""
        run = self.build(ws, *words)
        again = self.build(ws, *words)
        assert not again.built(), again.stderr
        assert not again.events
        return run


@pytest.fixture
def kache(kache_file: Kache) -> Kache:
    """As it ships; the source tree is the same code."""
    return kache_file


@pytest.fixture
def builder(world: World, cargo: Cargo) -> Builder:
    return Builder(world, cargo)


def remove_target(ws: Path) -> None:
    shutil.rmtree(ws / "target")


def warmed(run: Run) -> int:
    """How many units were put back."""
    return sum(int(event["warmed"]) for event in run.events if event["result"] == "warmed")


def calls(run: Run) -> List[str]:
    """The crates that Cargo called the wrapper for."""
    return sorted(str(event["crate_name"]) for event in run.events if event["result"] != "warmed")


def artifacts(ws: Path, profile: str = "debug") -> Dict[str, bytes]:
    """What compilers and scripts left, by name."""
    found = {}
    for base in ("deps", "build"):
        for path in sorted((ws / "target" / profile / base).rglob("*")):
            relative = path.relative_to(ws / "target" / profile)
            kept = path.suffix in (".rlib", ".rmeta", ".so", "") or "out" in relative.parts
            if path.is_file() and kept and path.name not in ("output", "root-output", "stderr"):
                found[str(relative)] = path.read_bytes()
    return found


def prints(ws: Path, profile: str = "debug") -> str:
    run = World(ws, dict(os.environ)).run([ws / "target" / profile / "app"], cwd=ws)
    return run.ok().stdout


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_all_is_fresh_and_nothing_is_called(builder: Builder, ws: Path) -> None:
    kept = builder.cold(ws)
    assert kept["refused"] == []
    run = builder.warm(ws)
    assert run.fresh() == ALL
    assert not run.built()
    assert warmed(run) == kept["kept"] > 6
    assert calls(run) == []
    assert prints(ws) == "101 1 1007 0.1.0\n"


def test_another_checkout_with_new_file_times_has_the_same_bytes(builder: Builder, ws: Path, world: World) -> None:
    builder.cold(ws)
    other = world.root / "elsewhere" / "deep" / "ws"
    shutil.copytree(ws, other)
    for path in other.rglob("*"):
        os.utime(path)
    run = builder.warm(other)
    assert not run.built()
    found = artifacts(other)
    remove_target(other)
    builder.env["KACHE_CACHE_DIR"] = str(world.root / "empty")
    builder.build(other)
    expected = artifacts(other)
    assert found.keys() == expected.keys()
    assert [name for name, data in found.items() if expected[name] != data] == []


def test_a_package_of_many_files_in_another_checkout(builder: Builder, ws: Path, world: World) -> None:
    """Its dep-info is large, and was kept as a blob that names the old place."""
    names = [f"module_{number:03d}_{'x' * 80}" for number in range(300)]
    for name in names:
        (ws / "plain" / "src" / f"{name}.rs").write_text("")
    with (ws / "plain" / "src" / "lib.rs").open("a") as source:
        source.writelines(f"mod {name};\n" for name in names)
    builder.build(ws)
    (dep_info,) = (ws / "target" / "debug" / "deps").glob("plain-*.d")
    assert dep_info.stat().st_size > 64 * 1024
    builder.save(ws)
    other = world.root / "elsewhere" / "ws"
    shutil.copytree(ws, other, ignore=shutil.ignore_patterns("target"))
    run = builder.warm(other)
    assert not run.built(), run.stderr
    text = dep_info.read_text().replace(str(ws), str(other))
    assert (other / "target" / "debug" / "deps" / dep_info.name).read_text() == text


def test_another_target_directory(builder: Builder, ws: Path, world: World) -> None:
    """Where the target lies says nothing about what is in it."""
    builder.build(ws)
    builder.save(ws)
    builder.env["CARGO_TARGET_DIR"] = str(world.root / "far" / "away")
    run = builder.build(ws)
    assert not run.built(), run.stderr
    assert calls(run) == []


@pytest.mark.parametrize(
    "words",
    [("check",), ("test", "--no-run"), ("clippy",), ("build", "--release"), ("check", "--all-targets"), ("run",)],
    ids=" ".join,
)
def test_every_command(builder: Builder, ws: Path, words: List[str]) -> None:
    builder.cold(ws, *words)
    run = builder.warm(ws, *words)
    assert not run.built(), run.stderr
    assert warmed(run)
    assert calls(run) == []


def test_all_modes_of_a_profile_come_back_at_once(builder: Builder, ws: Path) -> None:
    for words in (("check",), ("build",), ("test", "--no-run")):
        builder.build(ws, *words)
    builder.save(ws)
    remove_target(ws)
    for words in (("check",), ("build",), ("test", "--no-run")):
        run = builder.build(ws, *words)
        assert not run.built(), run.stderr
        assert calls(run) == []


def rival(ws: Path) -> None:
    (ws / "lib/src/inner").mkdir()
    (ws / "lib/src/inner/mod.rs").write_text("pub const ONE: usize = 5;\n")
    (ws / "lib/src/inner.rs").unlink()


CHANGES: Dict[str, Any] = {
    "a source": (lambda ws: edit(ws / "plain/src/lib.rs", "{ 1 }", "{ 2 }"), {"plain", "app"}),
    "a module": (lambda ws: edit(ws / "lib/src/inner.rs", "= 1", "= 2"), {"lib", "app"}),
    "a file that a macro lists": (lambda ws: (ws / "lib/data/b.txt").write_text("b"), {"lib", "app"}),
    "a macro": (lambda ws: edit(ws / "macros/src/lib.rs", "* 100", "* 10"), {"macros", "lib", "app"}),
    "a declared file": (lambda ws: edit(ws / "native/input.txt", "7", "8"), {"native", "app"}),
    "a build script": (lambda ws: edit(ws / "native/build.rs", '== "7"', '== "9"'), {"native", "app"}),
    "a manifest": (lambda ws: edit(ws / "app/Cargo.toml", "0.1.0", "0.2.0"), {"app"}),
    "a rival module": (rival, {"lib", "app"}),
}


@pytest.mark.parametrize("old_times", [False, True], ids=["new times", "old times"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_found_by_content(builder: Builder, ws: Path, world: World, name: str, old_times: bool) -> None:
    change, hit_by_it = CHANGES[name]
    builder.cold(ws)
    change(ws)
    if old_times:
        for path in ws.rglob("*"):
            os.utime(path, (1, 1))
    run = builder.build(ws)
    assert run.built() == hit_by_it
    assert run.fresh() == ALL - hit_by_it
    found, said = artifacts(ws), prints(ws)
    remove_target(ws)
    builder.env["KACHE_CACHE_DIR"] = str(world.root / "empty")
    builder.build(ws)
    expected = artifacts(ws)
    assert prints(ws) == said
    assert [each for each in expected if found.get(each) != expected[each]] == []


def test_a_second_file_for_a_module_is_an_error_as_ever(builder: Builder, ws: Path) -> None:
    """E0761: no file that was compiled has changed, and the package has no macro to list its files for."""
    (ws / "plain/src/inner.rs").write_text("pub const ONE: u8 = 1;\n")
    edit(ws / "plain/src/lib.rs", "pub fn", "pub mod inner; pub fn")
    builder.cold(ws)
    (ws / "plain/src/inner").mkdir()
    (ws / "plain/src/inner/mod.rs").write_text("pub const ONE: u8 = 5;\n")
    run = builder.cargo("build", cwd=ws, env=builder.env)
    assert run.returncode == 101
    assert "E0761" in run.stderr


def test_an_edit_and_back(builder: Builder, ws: Path) -> None:
    """Both generations are in the plan, and neither is mixed with the other."""
    builder.cold(ws)
    edit(ws / "native/input.txt", "7", "8")
    builder.cold(ws)
    run = builder.warm(ws)
    assert not run.built()
    assert prints(ws) == "101 1 8 0.1.0\n"
    remove_target(ws)
    edit(ws / "native/input.txt", "8", "7")
    run = builder.warm(ws)
    assert not run.built()
    assert prints(ws) == "101 1 1007 0.1.0\n"


@pytest.mark.parametrize("name", ["KACHE_KEY_SALT", "RUSTFLAGS", "RUSTC_BOOTSTRAP"])
def test_another_environment_is_another_plan(builder: Builder, ws: Path, name: str) -> None:
    builder.cold(ws)
    builder.env[name] = "--cfg other" if name == "RUSTFLAGS" else "1"
    run = builder.build(ws)
    assert warmed(run) == 0
    assert run.built() == ALL


def test_a_variable_that_is_tracked_is_cargos(builder: Builder, ws: Path) -> None:
    (ws / "plain/src/lib.rs").write_text('pub fn one() -> usize { option_env!("TRACKED").unwrap_or("").len() }\n')
    builder.env["TRACKED"] = "12"
    builder.cold(ws)
    builder.env["TRACKED"] = "123"
    run = builder.warm(ws)
    assert prints(ws) == "101 3 1007 0.1.0\n"
    assert run.built() == {"plain", "app"}


def test_extra_inputs_are_compared(builder: Builder, ws: Path) -> None:
    (ws / "plain/kache.toml").write_text('extra_inputs = ["extra.txt"]\n')
    (ws / "plain/extra.txt").write_text("1")
    builder.cold(ws)
    run = builder.warm(ws)
    assert not run.built()
    remove_target(ws)
    (ws / "plain/extra.txt").write_text("2")
    run = builder.build(ws)
    assert run.built() == {"plain", "app"}


@pytest.mark.parametrize("command", ["metadata", "tree", "fetch", "clean"])
def test_commands_that_compile_nothing_create_nothing(builder: Builder, ws: Path, command: str) -> None:
    builder.cold(ws)
    builder.cargo(command, "--offline", cwd=ws, env=builder.env).ok()
    assert not (ws / "target").exists()


def test_the_target_is_marked_and_can_be_cleaned(builder: Builder, ws: Path) -> None:
    builder.cold(ws)
    builder.build(ws)
    assert (ws / "target/CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")
    builder.cargo("clean", cwd=ws, env=builder.env).ok()
    assert not (ws / "target").exists()


@pytest.mark.parametrize("how", ["option", "variable", "file", "build-dir", "triple", "member", "manifest-path"])
def test_every_way_to_place_a_target(builder: Builder, ws: Path, world: World, how: str) -> None:
    where, words, options, cwd = ws / "target", [], [], ws
    if how == "option":
        where = world.root / "out"
        words = options = ["--target-dir", str(where)]
    elif how == "variable":
        where = world.root / "out"
        builder.env["CARGO_TARGET_DIR"] = str(where)
    elif how in ("file", "build-dir"):
        key = "target-dir" if how == "file" else "build-dir"
        where = ws / "made"
        (ws / ".cargo").mkdir()
        (ws / ".cargo/config.toml").write_text(f'[build]\n{key} = "made"\n')
    elif how == "triple":
        host = world.run(["rustc", "-vV"]).ok().stdout.partition("host: ")[2].split()[0]
        words = options = ["--target", host]
    elif how == "member":
        cwd = ws / "app"
    else:
        words = options = ["--manifest-path", str(ws / "app/Cargo.toml")]
        cwd = world.root
    builder.build(cwd, "build", *words)
    assert builder.save(cwd, *options)["kept"]
    shutil.rmtree(where)
    run = builder.build(cwd, "build", *words)
    assert warmed(run)
    assert not run.built(), run.stderr
    assert calls(run) == []


def test_a_lock_file_that_was_never_seen(builder: Builder, ws: Path) -> None:
    """A package more: all but it and what depends on it comes back."""
    builder.cold(ws)
    (ws / "more/src").mkdir(parents=True)
    (ws / "more/Cargo.toml").write_text('[package]\nname = "more"\nversion = "0.1.0"\nedition = "2021"\n')
    (ws / "more/src/lib.rs").write_text("pub fn more() {}\n")
    edit(ws / "Cargo.toml", '"plain"', '"plain", "more"')
    edit(ws / "app/Cargo.toml", "[dependencies]", '[dependencies]\nmore = { path = "../more" }')
    builder.cargo("generate-lockfile", "--offline", cwd=ws, env={"RUSTC_WRAPPER": None}).ok()
    shutil.rmtree(ws / "target", ignore_errors=True)
    run = builder.build(ws)
    assert run.built() == {"more", "app"}
    assert warmed(run)


def test_without_executables_libraries_that_hang_on_none_come_back(builder: Builder, ws: Path) -> None:
    del builder.env["KACHE_CACHE_EXECUTABLES"]
    builder.cold(ws)
    run = builder.build(ws)
    assert "plain" in run.fresh()
    assert run.built() == {"macros", "lib", "native", "app"}
    assert prints(ws) == "101 1 1007 0.1.0\n"


LATE: Dict[str, Any] = {
    "a file that a macro lists": (lambda ws: (ws / "lib/data/b.txt").write_text("b"), "lib-"),
    "an extra input": (lambda ws: (ws / "lib/extra.txt").write_text("2"), "lib-"),
    "a source": (lambda ws: edit(ws / "lib/src/inner.rs", "= 1", "= 2"), "lib-"),
    "a manifest": (lambda ws: edit(ws / "lib/Cargo.toml", "edition", 'license = "MIT"\nedition'), "lib-"),
    "a declared file": (lambda ws: edit(ws / "native/input.txt", "7", "8"), "native-"),
    "another file of a script's package": (lambda ws: (ws / "native/other.txt").write_text("8"), "native-"),
}


@pytest.mark.parametrize("name", LATE)
def test_what_changed_before_the_units_are_kept(builder: Builder, ws: Path, name: str) -> None:
    """The helper looks a moment after the compile: by then it is another place."""
    change, unit = LATE[name]
    (ws / "lib/kache.toml").write_text('extra_inputs = ["extra.txt"]\n')
    (ws / "lib/extra.txt").write_text("1")
    builder.build(ws)
    change(ws)
    refused = builder.save(ws)["refused"]
    assert [row for row in refused if row["unit"].startswith(unit)], refused
    remove_target(ws)
    run = builder.build(ws)
    assert unit.rstrip("-") in run.built()


def test_a_commit_after_the_run(builder: Builder, ws: Path, world: World) -> None:
    (ws / ".gitignore").write_text("target\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        world.run(["git", *words], cwd=ws).ok()
    builder.build(ws)
    world.run(["git", "commit", "-q", "--allow-empty", "-m", "two"], cwd=ws).ok()
    reasons = [row["reason"] for row in builder.save(ws)["refused"]]
    assert "another commit was checked out after the build script ran" in reasons


def test_a_script_that_declares_nothing_runs(builder: Builder, ws: Path) -> None:
    edit(ws / "native/build.rs", 'println!("cargo:rerun-if-changed=input.txt");', "")
    edit(ws / "native/build.rs", 'println!("cargo:rerun-if-changed=build.rs");', "")
    builder.cold(ws)
    run = builder.build(ws)
    assert run.built() == {"native", "app"}


def test_a_script_that_bakes_the_commit_in_is_bound_to_it(builder: Builder, ws: Path, world: World) -> None:
    (ws / ".gitignore").write_text("target\n")
    edit(
        ws / "native/build.rs",
        "let text",
        'let id = std::process::Command::new("git").args(["rev-parse", "HEAD"]).output().unwrap().stdout;'
        ' println!("cargo:rustc-env=COMMIT={}", &String::from_utf8(id).unwrap()[..12]); let text',
    )
    (ws / "native/src/lib.rs").write_text('pub fn value() -> &\'static str { env!("COMMIT") }\n')
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        world.run(["git", *words], cwd=ws).ok()
    builder.cold(ws)
    assert not builder.warm(ws).built()
    remove_target(ws)
    world.run(["git", "commit", "-q", "--allow-empty", "-m", "two"], cwd=ws).ok()
    run = builder.build(ws)
    assert run.built() == {"native", "app"}
    assert prints(ws).split()[2] == world.run(["git", "rev-parse", "HEAD"], cwd=ws).ok().stdout[:12]


def test_the_helper_takes_once_cargo_has_ended(builder: Builder, ws: Path, world: World) -> None:
    builder.env["KACHE_TAKE_UNITS"] = "1"
    started = time.monotonic()
    builder.build(ws)
    deadline = time.monotonic() + 30
    while not list((world.cache_dir / "plans").rglob("*-*")):
        assert time.monotonic() < deadline, f"nothing was taken; the build took {deadline - started - 30:.1f} s"
        time.sleep(0.05)
    time.sleep(0.5)
    remove_target(ws)
    assert not builder.warm(ws).built()


def test_a_target_in_use_is_left_alone(builder: Builder, ws: Path) -> None:
    builder.cold(ws)
    (ws / "target/debug/.fingerprint").mkdir(parents=True)
    run = builder.build(ws)
    assert warmed(run) == 0
    assert run.built() == ALL


def test_switched_off(builder: Builder, ws: Path) -> None:
    builder.cold(ws)
    builder.env["KACHE_WARM_TARGETS"] = "0"
    run = builder.build(ws)
    assert run.built() == ALL
    assert warmed(run) == 0


def test_a_script_that_resolves_links_names_one_place(builder: Builder, ws: Path, world: World) -> None:
    """The target directory is a link, and what the script says of it is good here alone."""
    script = ws / "native/build.rs"
    text = 'println!("cargo:rustc-env=PLACE={}", std::fs::canonicalize(&out).unwrap().display());'
    script.write_text(script.read_text().replace("std::fs::write(out", text + "\n            std::fs::write(out"))
    real = world.root / "real-target"
    real.mkdir()
    (ws / "target").symlink_to(real)
    builder.build(ws)
    refused = {row["unit"]: row["reason"] for row in builder.save(ws)["refused"]}
    assert [why for unit, why in refused.items() if unit.startswith("native-") and "run-build-script" in unit]
    assert any("which Cargo knows by a link" in why for why in refused.values())


@pytest.mark.parametrize("how", ["word", "variable", "file"])
def test_the_new_layout_is_left_to_cargo(builder: Builder, ws: Path, how: str) -> None:
    """All compiles hit, and nothing is put where this Cargo does not look."""
    builder.cold(ws)
    builder.env["RUSTC_BOOTSTRAP"] = "1"
    words = ["build"]
    if how == "word":
        words.append("-Zbuild-dir-new-layout")
    elif how == "variable":
        builder.env["CARGO_UNSTABLE_BUILD_DIR_NEW_LAYOUT"] = "true"
    else:
        (ws / ".cargo").mkdir(exist_ok=True)
        (ws / ".cargo/config.toml").write_text("[unstable]\nbuild-dir-new-layout = true\n")
    builder.env["KACHE_TAKE_UNITS"] = "1"
    for number in range(2):
        if number:
            remove_target(ws)
        run = builder.build(ws, *words)
        assert warmed(run) == 0
        assert run.built() == ALL
        assert (ws / "target/debug/build/plain").is_dir(), "not the new layout"
        assert prints(ws) == "101 1 1007 0.1.0\n"
    assert {event["result"] for event in run.events} <= {"local_hit", "passthrough"}


def test_a_store_that_is_only_read_warms(builder: Builder, ws: Path, world: World) -> None:
    """The one baked into a CI image."""
    builder.cold(ws)
    builder.env["KACHE_READONLY_STORE"] = str(world.cache_dir)
    builder.env["KACHE_CACHE_DIR"] = str(world.root / "own")
    run = builder.build(ws)
    assert not run.built()
    assert run.fresh() == ALL


def test_a_warmed_target_watches_its_own_checkout(builder: Builder, ws: Path, world: World) -> None:
    """Cargo's notes hold absolute paths for what lies outside a package."""
    (ws / "shared.txt").write_text("one")
    (ws / "plain/src/lib.rs").write_text('pub fn one() -> &\'static str { include_str!("../../shared.txt") }\n')
    builder.cold(ws)
    other = world.root / "other" / "ws"
    shutil.copytree(ws, other)
    assert not builder.warm(other).built()
    (ws / "shared.txt").write_text("not this one")
    assert not builder.build(other).built()
    (other / "shared.txt").write_text("two")
    assert builder.build(other).built() == {"plain", "app"}
    assert prints(other) == "101 two 1007 0.1.0\n"


def test_an_edit_between_looking_and_putting_back_is_noticed(
    builder: Builder, ws: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is put back carries a time from before the first look."""
    builder.cold(ws)
    for name, value in builder.env.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(ws)
    choose = warm._Choice.choose

    def choose_and_edit(self: Any) -> None:
        choose(self)
        edit(ws / "plain/src/lib.rs", "{ 1 }", "{ 9 }")
        # more than the tick that the stamp is set back by
        time.sleep(0.1)

    monkeypatch.setattr(warm._Choice, "choose", choose_and_edit)
    assert warm_command.run_warm(["--json"]) == 0
    assert builder.build(ws).built() == {"plain", "app"}
    assert prints(ws) == "101 9 1007 0.1.0\n"


def test_the_tick_before_the_stamp_is_noticed(builder: Builder, ws: Path) -> None:
    """Files get times of a clock that stands still for milliseconds."""
    builder.cold(ws)
    builder.build(ws)
    notes = (ws / "target/debug/.fingerprint").glob("plain-*/dep-lib-plain")
    stamp = next(iter(notes)).stat().st_mtime_ns
    (event,) = [event for event in builder.world.events() if event["result"] == "warmed"]
    assert stamp <= int(event["start_time"] * 1e9) + 200_000_000
    assert stamp < next((ws / "target").glob("CACHEDIR.TAG")).stat().st_mtime_ns - 5_000_000


@pytest.mark.parametrize("wrapper", [True, False], ids=["with kache", "without"])
def test_a_warmed_target_is_built_on_and_no_blob_is_written_into(builder: Builder, ws: Path, wrapper: bool) -> None:
    """Outputs share their inodes with the store; who replaces them makes new ones."""
    builder.cold(ws)
    assert not builder.warm(ws).built()
    shared = [path for path in (ws / "target/debug/deps").iterdir() if path.stat().st_nlink > 1]
    assert {path.suffix for path in shared} >= {".rlib", ".rmeta", ".so"}
    edit(ws / "plain/src/lib.rs", "{ 1 }", "{ 3 }")
    edit(ws / "macros/src/lib.rs", "* 100", "* 10")
    run = builder.cargo("build", "-v", cwd=ws, env=builder.env, wrapper=wrapper).ok()
    assert run.built() == {"plain", "macros", "lib", "app"}
    assert prints(ws) == "11 3 1007 0.1.0\n"
    for path in (builder.world.cache_dir / "store").rglob("*/*"):
        assert digest_file(str(path)) == path.name
    run = builder.cargo("build", "-v", cwd=ws, env=builder.env, wrapper=wrapper).ok()
    assert not run.built()
