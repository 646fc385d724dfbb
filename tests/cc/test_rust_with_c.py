"""A Rust workspace with a C dependency: warm on both sides, by the cc crate as docs/c-cpp.md sets it up."""

from pathlib import Path
from typing import Callable, Dict, List, Optional

import pytest

from tests.world import Cargo, Kache, Run, World

FILES: Dict[str, str] = {
    "Cargo.toml": '[workspace]\nmembers = ["app", "native-sys"]\nresolver = "2"\n',
    "app/Cargo.toml": '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n'
    '[dependencies]\nnative-sys = { path = "../native-sys" }\n',
    "app/src/main.rs": 'fn main() { println!("{}", unsafe { native_sys::answer() }); }\n',
    "native-sys/Cargo.toml": '[package]\nname = "native-sys"\nversion = "0.1.0"\nedition = "2021"\n'
    '[build-dependencies]\ncc = "=1.11.3"\n',
    "native-sys/build.rs": 'fn main() { println!("cargo:rerun-if-changed=c"); '
    'cc::Build::new().file("c/one.c").file("c/two.c").include("c").compile("native"); }\n',
    "native-sys/src/lib.rs": 'extern "C" { pub fn answer() -> i32; }\n',
    "native-sys/c/one.c": '#include "native.h"\nint answer(void) { return half() * 2; }\n',
    "native-sys/c/two.c": '#include "native.h"\nint half(void) { return HALF; }\n',
    "native-sys/c/native.h": "#define HALF 21\nint half(void);\n",
}
C_UNITS = ("cc-one", "cc-two")


def of_c(run: Run) -> List[str]:
    """What became of the two C files."""
    return [str(event["result"]) for event in run.events if event.get("crate_name") in C_UNITS]


@pytest.fixture
def build(
    world: World, kache_file: Kache, require_tool: Callable[[str], str]
) -> Callable[[Path, bool], Run]:
    require_tool("gcc")
    cargo = Cargo(world, kache_file)

    def run(ws: Path, warm: bool) -> Run:
        env: Dict[str, Optional[str]] = {
            "KACHE_CACHE_EXECUTABLES": "1",
            "KACHE_WARM_TARGETS": "1" if warm else "0",
            "CARGO_NET_OFFLINE": "false",
        }
        done = cargo("build", "-v", cwd=ws, env=env).ok()
        assert world.run([ws / "target/debug/app"]).stdout == "42\n"
        return done

    return run


@pytest.mark.network
def test_it_is_warm_on_both_sides(build: Callable[[Path, bool], Run], world: World, kache_file: Kache) -> None:
    first = world.workspace(FILES, "first/ws")
    cold = build(first, True)
    assert of_c(cold) == ["miss", "miss"]
    world.run([kache_file.path, "save"], cwd=first, env={"KACHE_CACHE_EXECUTABLES": "1"}).ok()
    for name, warm in (("second/ws", True), ("third/place/ws", False)):
        ws = world.workspace(FILES, name)
        (ws / "Cargo.lock").write_bytes((first / "Cargo.lock").read_bytes())
        run = build(ws, warm)
        if warm:
            assert {"app", "native-sys"} <= run.fresh() and not run.built(), run.stderr
        else:
            # each unit is called for, and so is each object, for here the build script runs
            told = {str(event["result"]) for event in run.events if event["result"] != "passthrough"}
            assert told == {"local_hit"}, run.results()
    changed = FILES["native-sys/c/one.c"].replace("half() * 2", "2 * half()")
    edited = world.workspace({**FILES, "native-sys/c/one.c": changed}, "fourth/ws")
    (edited / "Cargo.lock").write_bytes((first / "Cargo.lock").read_bytes())
    results = build(edited, True).results()
    assert (results["cc-one"], results["cc-two"]) == (["miss"], ["local_hit"])
