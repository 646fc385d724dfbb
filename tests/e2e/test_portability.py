"""Same inputs, same key, same bytes: in another checkout, home, locale and Python; and what is bound to its place."""

import os
import shutil
import sys
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Tuple

import pytest

from tests.e2e.family import FAMILY, MEMBER, PRINTS
from tests.e2e.rustc import OUT, Rustc, contents, hit, results
from tests.world import Cargo, Kache, Run

Environment = Mapping[str, Optional[str]]
EXECUTABLES = {"KACHE_CACHE_EXECUTABLES": "1"}


@pytest.fixture
def kache(kache_file: Kache) -> Kache:
    """Only as it ships, but where it says otherwise."""
    return kache_file


def keys(run: Run) -> Dict[Tuple[str, str], Tuple[str, str]]:
    """(crate, its types) -> action key and cache key of every compile of this run."""
    return {
        (str(event["crate_name"]), str(event.get("crate_types"))): (event["action_key"], event["cache_key"])
        for event in run.ok().events
        if event.get("cache_key")
    }


# keys


def test_keys_are_the_same_whatever_surrounds_the_build(cargo: Cargo, workspace: Callable[..., Path]) -> None:
    """Each of these builds has an empty store, so that nothing is equal because it was restored."""
    world = cargo.world
    home = workspace({"keep": ""}, name="elsewhere/of/somebody/home")
    places: Dict[str, Tuple[str, Environment]] = {
        "base": ("a/ws", {}),
        "deeper": ("much/deeper/below/checkout", {}),
        "home": ("a/ws", {"HOME": str(home), "USER": "somebody", "XDG_CACHE_HOME": None}),
        "cargo home": ("a/ws", {"CARGO_HOME": str(home / "cargo")}),
        "in home": ("a/ws", {"HOME": str(world.root / "a"), "CARGO_HOME": str(home / "cargo")}),
        "target": ("a/ws", {"CARGO_TARGET_DIR": str(world.root / "out/of/it")}),
        "surroundings": ("a/ws", {"TMPDIR": str(home), "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8", "COLUMNS": "30"}),
    }
    found: Dict[str, Dict[Tuple[str, str], Tuple[str, str]]] = {}
    for name, (place, more) in places.items():
        ws = workspace(FAMILY, name=place)
        shutil.rmtree(ws / "target", ignore_errors=True)
        # stores change places, so that ``world`` sees the events
        shutil.rmtree(world.cache_dir, ignore_errors=True)
        run = cargo("build", cwd=ws, env={**EXECUTABLES, **more}).ok()
        assert results(run) == ["miss"], name
        found[name] = keys(run)
    assert len(found["base"]) == 5
    assert {name: found[name] for name in places} == dict.fromkeys(places, found["base"])


def test_keys_are_the_same_in_every_locale_and_python(
    rustc: Rustc, kache_source: Kache, workspace: Callable[..., Path], looking: Path
) -> None:
    """Also from the source tree and from the one file."""
    ws = workspace(
        {
            "Cargo.toml": MEMBER.format("a"),
            "src/lib.rs": 'pub const A: &str = include_str!("ä.txt");\n'
            'pub const B: &str = concat!(env!("THE_VALUE"), look::list!("data"));\n',
            "src/ä.txt": "ü\n",
            "data/ö": "1\n",
            "data/Z": "2\n",
            "kache.toml": 'extra_inputs = ["data"]\n',
        }
    )
    installed = Path(rustc.world.env["PYENV_ROOT"]).glob("versions/3.*/bin/python3")
    pythons = sorted(path for path in installed if int(path.parts[-3].split(".")[1]) >= 9)
    variants: List[Environment] = [
        {},
        {"LC_ALL": "C.UTF-8"},
        {"LC_ALL": None, "LANG": "de_DE.ISO-8859-1", "LC_CTYPE": "de_DE.ISO-8859-1"},
        {"PYTHONHASHSEED": "1", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
        *({"KACHE_PYTHON": str(python)} for python in pythons),
    ]
    found = set()
    for variant in variants:
        shutil.rmtree(rustc.world.cache_dir, ignore_errors=True)
        run = rustc(ws, "a", "--extern", f"look={looking}", env={"THE_VALUE": "ß", **variant})
        assert run.returncode == 0, variant
        assert not hit(run), variant
        found.add(str(keys(run)))
    shutil.rmtree(rustc.world.cache_dir)
    run = Rustc(rustc.world, kache_source)(ws, "a", "--extern", f"look={looking}", env={"THE_VALUE": "ß"})
    found.add(str(keys(run)))
    assert len(found) == 1


def test_every_unit_hits_in_another_checkout(cargo: Cargo, workspace: Callable[..., Path]) -> None:
    """With debug info, another HOME, CARGO_HOME and target directory."""
    first = workspace(FAMILY, name="a/ws")
    cold_run = cargo("build", cwd=first, env=EXECUTABLES).ok()
    shutil.rmtree(first)
    second = workspace(FAMILY, name="another/deeper/checkout")
    home = str(workspace({"keep": ""}, name="elsewhere/home"))
    env = {**EXECUTABLES, "HOME": home, "CARGO_HOME": f"{home}/cargo", "CARGO_TARGET_DIR": f"{home}/target"}
    run = cargo("build", cwd=second, env=env).ok()
    assert run.count("local_hit") == cold_run.count("miss") == 5
    assert results(run) == ["local_hit"]
    assert cargo.world.run([f"{home}/target/debug/app"]).ok().stdout == PRINTS


# bytes


def test_what_is_restored_is_what_a_compile_there_gives(cargo: Cargo, workspace: Callable[..., Path]) -> None:
    """Every file of ``deps``, dep-info as well, byte for byte as from an empty store at the same place."""
    first = workspace(FAMILY, name="a/ws")
    cargo("build", cwd=first, env=EXECUTABLES).ok()
    second = workspace(FAMILY, name="another/deeper/ws")
    assert results(cargo("build", cwd=second, env=EXECUTABLES).ok()) == ["local_hit"]
    restored = contents(second / "target/debug/deps")
    scripts = contents(second / "target/debug/build")
    shutil.rmtree(second / "target")
    shutil.rmtree(cargo.world.cache_dir)
    assert results(cargo("build", cwd=second, env=EXECUTABLES).ok()) == ["miss"]
    fresh = contents(second / "target/debug/deps")
    assert sorted(restored) == sorted(fresh)
    assert [name for name in fresh if restored[name] != fresh[name]] == []
    assert len(fresh) == 10
    fresh_scripts = contents(second / "target/debug/build")
    assert [name for name in fresh_scripts if scripts.get(name) != fresh_scripts[name]] == []
    # and these bytes say nothing of the place where they were made
    for name, content in fresh.items():
        if not name.endswith(".d"):
            assert str(cargo.world.root).encode() not in content, name
    program = next(content for name, content in fresh.items() if name.startswith("app-") and not name.endswith(".d"))
    if sys.platform == "linux":
        assert b"/proc/self/cwd" in program, "debuggers find the sources from the workspace root"


def test_a_program_tells_what_it_would_tell_without_kache(cargo: Cargo, workspace: Callable[..., Path]) -> None:
    """Its files and lines, its panics, its types; compiled, and restored elsewhere."""
    files = {
        **FAMILY,
        "app/src/main.rs": """
            mod part;
            #[track_caller] fn at() -> String { std::panic::Location::caller().to_string() }
            fn main() {
                println!("{} {} {} {}", file!(), line!(), module_path!(), at());
                println!("{} {} {}", env!("CARGO_PKG_NAME"), part::listed(), std::any::type_name::<low::Told>());
                println!("{:?}", low::told());
                println!("{}", low::say());
                let _: u8 = low::none().expect("nothing");
            }
            """,
        "low/src/lib.rs": FAMILY["low/src/lib.rs"]
        + """
        pub struct Told;
        pub fn told() -> (&'static str, u32, Result<u32, std::num::ParseIntError>) { (file!(), line!(), "x".parse()) }
        pub fn none() -> Option<u8> { if say().is_empty() { Some(1) } else { None } }
        """,
    }
    told = []
    for place, wrapper in (("a/ws", False), ("a/ws", True), ("another/ws", True), ("another/ws", False)):
        ws = workspace(files, name=place)
        shutil.rmtree(ws / "target", ignore_errors=True)
        run = cargo("build", cwd=ws, env=EXECUTABLES, wrapper=wrapper).ok()
        program = cargo.world.run([ws / "target/debug/app"], env={"RUST_BACKTRACE": "0"})
        assert program.returncode == 101
        told.append((program.stdout, program.stderr.partition("panicked at")[2]))
        if place == "another/ws" and wrapper:
            assert results(run) == ["local_hit"]
    assert "nothing" in told[0][1]
    assert told[1:] == told[:1] * 3


# bound to a place


def test_a_unit_that_keeps_its_place_is_compiled_elsewhere_and_hits_at_home(
    cargo: Cargo, workspace: Callable[..., Path]
) -> None:
    """And only that unit: what it depends on, and what does not depend on it, hits everywhere."""
    files = {
        **FAMILY,
        "app/src/part.rs": FAMILY["app/src/part.rs"],
        "app/src/main.rs": 'fn main() { print!("{} {}", low::say(), low::PLACE) }\n',
        "low/src/lib.rs": FAMILY["low/src/lib.rs"] + 'pub const PLACE: &str = env!("CARGO_MANIFEST_DIR");\n',
    }
    for turn in range(2):
        for place in ("a/ws", "another/deeper/ws"):
            ws = workspace(files, name=place)
            shutil.rmtree(ws / "target", ignore_errors=True)
            run = cargo("build", cwd=ws, env=EXECUTABLES).ok()
            assert cargo.world.run([ws / "target/debug/app"]).ok().stdout == f"quiet {ws}/low"
            found = run.results()
            if turn:
                assert results(run) == ["local_hit"]
            elif place != "a/ws":
                assert found["low"] == ["miss"]
                assert found["gen"] == found["mac"] == ["local_hit"]


def test_an_integration_test_runs_the_program_of_its_own_checkout(cargo: Cargo, workspace: Callable[..., Path]) -> None:
    """Cargo tells it where that is when it is compiled; the first checkout is gone by then."""
    files = {
        "Cargo.toml": MEMBER.format("app"),
        "src/main.rs": 'fn main() { print!("{}", std::env::current_exe().unwrap().display()) }\n',
        "tests/run.rs": """
            #[test] fn run() {
                let run = std::process::Command::new(env!("CARGO_BIN_EXE_app")).output().unwrap();
                assert!(String::from_utf8(run.stdout).unwrap().starts_with(env!("CARGO_MANIFEST_DIR")));
                assert!(std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).starts_with(env!("CARGO_MANIFEST_DIR")));
                std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/x"), "x").unwrap();
            }
            """,
    }
    for place in ("a/ws", "another/deeper/ws", "a/ws"):
        ws = workspace(files, name=place)
        run = cargo("test", cwd=ws, env=EXECUTABLES).ok()
        assert "1 passed" in run.stdout
        shutil.rmtree(ws)
    assert results(run) == ["local_hit"]


def test_a_path_dependency_outside_the_workspace_is_right_everywhere(
    cargo: Cargo, workspace: Callable[..., Path]
) -> None:
    """Cargo gives it other names in another place, so it is a miss there; and never the other place's."""
    for number, place in enumerate(("a", "b", "a"), 1):
        workspace(
            {
                "Cargo.toml": MEMBER.format("outside"),
                "src/lib.rs": f'pub const N: u32 = {number}; pub const T: &str = include_str!("../t.txt");\n',
                "t.txt": f"{place}\n",
            },
            name=f"{place}/outside",
        )
        ws = workspace(
            {
                "Cargo.toml": MEMBER.format("app") + '[dependencies]\noutside = { path = "../outside" }\n',
                "src/main.rs": 'fn main() { print!("{}{}", outside::N, outside::T) }\n',
            },
            name=f"{place}/ws",
        )
        shutil.rmtree(ws / "target", ignore_errors=True)
        cargo("build", cwd=ws, env=EXECUTABLES).ok()
        assert cargo.world.run([ws / "target/debug/app"]).ok().stdout == f"{number}{place}\n"
        assert cargo("build", "-v", cwd=ws, env=EXECUTABLES).ok().built() == set()


def test_a_place_that_came_in_by_an_argument_binds_as_well(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """``--cfg`` with a path, and a variable that a build script set to one."""
    for place in ("a/ws", "another/deeper/ws"):
        ws = workspace({"src/main.rs": 'fn main() { print!("{}", env!("THE_DATA")) }\n'}, name=place)
        assert rustc.program(ws, env={"THE_DATA": f"{ws}/data"}) == f"{ws}/data"
        assert rustc.program(ws, env={"THE_DATA": f"{ws}/data"}) == f"{ws}/data"
    assert rustc.kache.events()[-1]["result"] == "local_hit"


def test_a_name_that_begins_like_the_workspace_is_another_place(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """``work`` and ``work-data``: dep-info names the one that was read, whatever the checkout is called."""
    data = workspace({"x.txt": "one\n"}, name="a/work-data")
    workspace({"x.txt": "two\n"}, name="b/work-data")
    source = 'fn main() { print!("{}", include_str!(concat!(env!("DATA"), "/x.txt"))) }\n'
    for place in ("a/work", "b/work", "a/work", "b/work"):
        ws = workspace({"src/main.rs": source}, name=place)
        env = {"DATA": str(data)}
        assert rustc.program(ws, env=env) == "one\n"
        ours = (ws / OUT / "app-0123456789abcdef.d").read_text()
        shutil.rmtree(ws / OUT)
        rustc.program(ws, env=env, wrapper=False)
        assert ours == (ws / OUT / "app-0123456789abcdef.d").read_text()
        shutil.rmtree(ws / OUT)
        assert rustc.program(ws, env={"DATA": f"{ws}-data"}) == ("one\n" if place[0] == "a" else "two\n")


@pytest.mark.parametrize("home", ["/", "", None, "/tmp", "relative"])
def test_an_odd_home_does_no_harm(rustc: Rustc, workspace: Callable[..., Path], home: Optional[str]) -> None:
    """CI images have HOME=/; remapping everything below it would be wrong."""
    source = 'fn main() { print!("{} {}", file!(), std::any::type_name::<Option<u8>>()) }\n'
    ws = workspace({"src/main.rs": source})
    env: Environment = {"HOME": home, "CARGO_HOME": None, "RUSTUP_HOME": rustc.world.env.get("RUSTUP_HOME")}
    bare = rustc.program(ws, env=env, out="../bare", wrapper=False)
    for _ in range(2):
        assert rustc.program(ws, "-g", env=env) == bare
    assert rustc.kache.events()[-1]["result"] == "local_hit"


def test_a_checkout_reached_through_a_link_builds_and_stays_fresh(cargo: Cargo, workspace: Callable[..., Path]) -> None:
    ws = workspace(FAMILY, name="real/ws")
    link = cargo.world.root / "link"
    link.symlink_to(ws)
    for _ in range(2):
        cargo("build", "--manifest-path", link / "Cargo.toml", cwd=cargo.world.root, env=EXECUTABLES).ok()
        assert cargo.world.run([link / "target/debug/app"]).ok().stdout == PRINTS
        again = cargo("build", "-v", "--manifest-path", link / "Cargo.toml", cwd=cargo.world.root, env=EXECUTABLES)
        assert again.ok().built() == set()
        shutil.rmtree(ws / "target")
    (ws / "low/text.txt").write_text("other\n")
    cargo("build", cwd=link, env=EXECUTABLES).ok()
    assert cargo.world.run([link / "target/debug/app"]).ok().stdout == PRINTS.replace("quiet", "other")
    assert os.path.islink(link)
