"""why-miss follows a miss of a real build to the change that was the first, and says so where it cannot."""

import json
import shutil
import time
from pathlib import Path
from typing import Callable, Dict

import pytest

from kachelib import builds as builds_module
from tests.e2e import registry
from tests.e2e.chain import LINE, Builds, manifest, source, workspace_of
from tests.world import Cargo, Kache, World

Make = Callable[..., Builds]


@pytest.fixture
def made(world: World, cargo: Cargo, kache_source: Kache) -> Make:
    """Write a workspace and build it once: ``made(files, KEY="value")``."""

    def make(files: Dict[str, str], **env: str) -> Builds:
        builds = Builds(cargo, cargo.kache, world.workspace(files), env)
        builds.build()
        return builds

    return make


def test_all_of_a_chain_goes_back_to_the_edit_at_its_bottom(made: Make) -> None:
    builds = made(workspace_of(LINE))
    builds.edit("base/src/lib.rs", source("base", (), 2))
    assert builds.build() == set(LINE)
    [root] = builds.roots()
    assert root["crate_names"] == ["base"] and root["unknown"] is None
    assert sorted(root["only_because_of_it"]) == sorted(LINE) and root["units"] == 4
    assert [change["name"] for change in root["changes"]] == ["<workspace>/base/src/lib.rs"]
    [way] = builds.ways("app")
    assert way == (
        "app missed because top changed; top missed because mid changed; mid missed because base changed; "
        f"base missed because src/lib.rs changed (in {builds.ws}/base)"
    )
    assert way in builds.said("app") and "3 other units (" in builds.said("app")
    assert builds.document("mid")["misses"][0]["also_missed"] == ["base", "top", "app"]
    told = builds.said()
    assert "4 units compiled" in told and f"in {builds.ws}" in told
    assert f"base: src/lib.rs changed (in {builds.ws}/base)\n  base, mid, top, app\n" in told


def test_two_edits_are_two_roots_and_what_hangs_on_both_is_apart(made: Make) -> None:
    uses = {"left": (), "right": (), "over": ("left",), "app": ("over", "right")}
    builds = made(workspace_of(uses))
    builds.edit("left/src/lib.rs", source("left", (), 2))
    builds.edit("right/src/lib.rs", source("right", (), 2))
    builds.build()
    alone = {root["crate_names"][0]: sorted(root["only_because_of_it"]) for root in builds.roots()}
    assert alone == {"left": ["left", "over"], "right": ["right"]}
    [mixed] = builds.document()["several_roots"]
    assert mixed["crate_name"] == "app" and len(mixed["roots"]) == 2
    assert {way.rpartition("; ")[2].partition(" ")[0] for way in builds.ways("app")} == {"left", "right"}


def test_several_files_of_one_crate_are_one_root(made: Make) -> None:
    files = workspace_of(LINE)
    files["mid/src/lib.rs"] += "pub mod more;\n"
    files["mid/src/more.rs"] = "pub const N: u32 = 1;\n"
    builds = made(files)
    builds.edit("mid/src/lib.rs", files["mid/src/lib.rs"] + "pub fn other() {}\n")
    builds.edit("mid/src/more.rs", "pub const N: u32 = 2;\n")
    assert builds.build() == {"mid", "top", "app"}
    [root] = builds.roots()
    assert sorted(root["only_because_of_it"]) == ["app", "mid", "top"]
    assert "src/lib.rs changed, src/more.rs changed" in root["text"]


def test_a_flag_is_the_root_of_all(made: Make) -> None:
    builds = made(workspace_of(LINE))
    assert builds.build(RUSTFLAGS="-C debug-assertions=off") == set(LINE)
    [root] = builds.roots()
    assert root["text"] == "in 4 packages: -C debug-assertions off was added"
    assert sorted(root["only_because_of_it"]) == sorted(LINE)


def test_a_flag_and_an_edit_are_told_apart(made: Make) -> None:
    builds = made(workspace_of(LINE))
    builds.edit("top/src/lib.rs", source("top", ("mid",), 2))
    builds.build(RUSTFLAGS="-C debug-assertions=off")
    roots = {root["text"].partition(":")[0]: sorted(root["only_because_of_it"]) for root in builds.roots()}
    assert roots == {"in 4 packages": ["base", "mid"], "top": []}
    assert {mixed["crate_name"] for mixed in builds.document()["several_roots"]} == {"top", "app"}


def test_a_variable_that_a_crate_reads_is_its_root(made: Make) -> None:
    files = workspace_of(LINE)
    files["base/src/lib.rs"] += 'pub fn who() -> &\'static str { option_env!("WHO").unwrap_or("") }\n'
    builds = made(files)
    assert builds.build(WHO="me") == set(LINE)
    [root] = builds.roots()
    assert root["text"] == "base: variable WHO changed from (not set) to me" and root["units"] == 4


MACRO = """
extern crate proc_macro;
use proc_macro::TokenStream;
#[proc_macro]
pub fn number(_: TokenStream) -> TokenStream { "%d".parse().unwrap() }
"""


def with_macro() -> Dict[str, str]:
    files = workspace_of({"mac": (), "user": ("mac",), "app": ("user",)})
    files["mac/Cargo.toml"] = manifest("mac", (), "[lib]\nproc-macro = true\n")
    files["mac/src/lib.rs"] = MACRO % 1
    files["user/src/lib.rs"] = "pub fn value() -> u64 { mac::number!() }\n"
    return files


def test_a_proc_macro_that_changed_is_the_root(made: Make) -> None:
    builds = made(with_macro())
    builds.edit("mac/src/lib.rs", MACRO % 2)
    assert builds.build() == {"mac", "user", "app"}
    [root] = builds.roots()
    assert root["crate_names"] == ["mac"] and root["units"] == 3
    assert builds.ways("app")[0].endswith(f"mac missed because src/lib.rs changed (in {builds.ws}/mac)")


def test_two_units_of_one_crate_in_one_build_are_not_compared_with_each_other(made: Make) -> None:
    """Optimised for the program and not for the macro: the other unit of this build is no earlier state."""
    files = with_macro()
    files.update(workspace_of({"base": (), "mac": ("base",), "user": ("mac", "base"), "app": ("user",)}))
    files["mac/Cargo.toml"] = manifest("mac", ("base",), "[lib]\nproc-macro = true\n")
    files["mac/src/lib.rs"] = MACRO.replace('"%d".parse()', "base::value().to_string().parse()")
    files["user/src/lib.rs"] = "pub fn value() -> u64 { mac::number!() + base::value() }\n"
    builds = made(files)
    builds.build("--release")
    builds.edit("base/src/lib.rs", source("base", (), 2))
    builds.build("--release")
    [root] = builds.roots()
    assert root["only_because_of_it"] == ["base", "mac", "user", "app"]
    assert root["units"] == 6, "two units of base, and two of mac, which is a member of the workspace as well"
    assert root["text"] == f"base: src/lib.rs changed (in {builds.ws}/base)"


def test_a_proc_macro_that_is_not_cached_ends_the_way(made: Make) -> None:
    """Executables are not cached by default: then nobody knows what a macro was made of."""
    builds = made(with_macro(), KACHE_CACHE_EXECUTABLES="0")
    builds.edit("mac/src/lib.rs", MACRO % 2)
    assert builds.build() == {"user"}
    [root] = builds.roots()
    assert root["text"].startswith("mac: it is not cached: linked outputs are not cached unless cache_executables")
    assert root["unknown"] and root["only_because_of_it"] == ["user"]
    assert "user missed because mac changed; why mac changed is not known: it is not cached" in builds.said("user")


def test_what_a_build_script_said_and_wrote_is_the_root(made: Make) -> None:
    files = workspace_of(LINE)
    files["mid/build.rs"] = """
        fn main() {
            println!("cargo:rerun-if-changed=number");
            let number = std::fs::read_to_string("number").unwrap();
            println!("cargo:rustc-env=NUMBER={}", number.trim());
            let out = std::env::var("OUT_DIR").unwrap();
            std::fs::write(format!("{out}/gen.rs"), format!("pub const N: u64 = {};", number.trim())).unwrap();
        }
        """
    files["mid/number"] = "1\n"
    files["mid/src/lib.rs"] += 'include!(concat!(env!("OUT_DIR"), "/gen.rs"));\n'
    files["mid/src/lib.rs"] += 'pub const SAID: &str = env!("NUMBER");\n'
    builds = made(files)
    builds.edit("mid/number", "2\n")
    assert builds.build() == {"mid", "top", "app"}
    [root] = builds.roots()
    assert root["crate_names"] == ["mid"] and sorted(root["only_because_of_it"]) == ["app", "mid", "top"]
    assert "variable NUMBER changed from 1 to 2" in root["text"]
    assert "gen.rs, which the build script of mid wrote, changed" in root["text"]


def test_a_bumped_dependency_is_the_root_by_its_version(world: World, cargo: Cargo, kache: Kache) -> None:
    place = world.root / "registry"
    for version, number in (("1.0.0", 1), ("1.0.1", 2)):
        files = {
            "Cargo.toml": f'[package]\nname = "outside"\nversion = "{version}"\nedition = "2021"\n',
            "src/lib.rs": f"pub fn value() -> u64 {{ {number} }}\n",
        }
        registry.local_registry(place, "outside", files, version)
    (world.home / ".cargo" / "config.toml").write_text(registry.replaced_by("local-registry", place))
    own = workspace_of({"base": (), "app": ("base",)})
    own["base/Cargo.toml"] += 'outside = "1"\n'
    own["base/src/lib.rs"] = "pub fn value() -> u64 { outside::value() }\n"
    builds = Builds(cargo, kache, world.workspace(own), {})
    world.run(["cargo", "update", "-p", "outside", "--precise", "1.0.0"], cwd=builds.ws).ok()
    builds.build()
    # Cargo names all units otherwise now, so only a pause shows that this is another build.
    time.sleep(builds_module.SHORT_PAUSE)
    world.run(["cargo", "update", "-p", "outside", "--precise", "1.0.1"], cwd=builds.ws).ok()
    assert builds.build() == {"outside", "base", "app"}
    [root] = builds.roots()
    assert root["text"].startswith("outside: its version changed from 1.0.0 to 1.0.1")
    assert sorted(root["only_because_of_it"]) == ["app", "base", "outside"]


def test_a_dependency_that_came_from_the_cache_is_followed_too(made: Make) -> None:
    """The bottom is in an older state again, and hits; what was never built on it misses, for the bottom's change."""
    builds = made(workspace_of(LINE))
    builds.edit("base/src/lib.rs", source("base", (), 2))
    builds.build("-p", "base")
    builds.edit("base/src/lib.rs", source("base", (), 1))
    builds.build()
    builds.edit("base/src/lib.rs", source("base", (), 2))
    assert builds.build() == {"mid", "top", "app"}
    [root] = builds.roots()
    assert root["crate_names"] == ["base"] and sorted(root["only_because_of_it"]) == ["app", "mid", "top"]
    assert "base came from the cache, and is another because src/lib.rs changed" in builds.said("mid")


def test_a_first_build_has_nothing_earlier(made: Make) -> None:
    builds = made(workspace_of(LINE))
    [root] = builds.roots()
    assert (root["unknown"], root["units"]) == ("no earlier compile is known", 4)
    assert "app missed: no earlier compile is known" in builds.said("app")


def test_what_the_store_lost_is_not_blamed_on_a_change(made: Make) -> None:
    """An older state is still there to be compared with, but the newer one was compiled before: nothing changed."""
    builds = made(workspace_of(LINE))
    builds.edit("base/src/lib.rs", source("base", (), 2))
    builds.build()
    lost = builds.kache.world.events()[-4:]
    for event in lost:
        entry = json.loads(builds.kache.run("list", event["crate_name"], "--json").stdout)["entries"]
        [mine] = [each for each in entry if each["cache_key"] == event["cache_key"]]
        for output in mine["outputs"]:
            if output["emit"] != "dep-info":
                digest = output["digest"]
                Path(builds.kache.world.cache_dir, "store", digest[:2], digest).unlink(missing_ok=True)
    shutil.rmtree(builds.ws / "target")
    assert builds.build() == set(LINE)
    [root] = builds.roots()
    assert root["unknown"] == "the same was compiled before, but the store had lost it"
    assert root["units"] == 4 and root["changes"] == []


def test_an_evicted_entry_is_not_blamed_on_a_change(made: Make) -> None:
    builds = made(workspace_of(LINE))
    builds.edit("base/src/lib.rs", source("base", (), 2))
    builds.build()
    [key] = [event["action_key"] for event in builds.kache.world.events()[-4:] if event["crate_name"] == "mid"]
    Path(builds.kache.world.cache_dir, "entries", key[:2], key).unlink()
    shutil.rmtree(builds.ws / "target")
    assert builds.build() == {"mid"}
    [root] = builds.roots()
    assert root["unknown"] == "the same was compiled before, but the store had lost it"
    assert "missed because" not in builds.said("mid")


def test_a_purged_dependency_ends_the_way(made: Make) -> None:
    builds = made(workspace_of(LINE))
    builds.edit("base/src/lib.rs", source("base", (), 2))
    builds.build()
    builds.kache.run("purge", "--crate-name", "mid").ok()
    texts = {root["text"] for root in builds.roots()}
    assert any("mid: the store no longer holds its compile" in text for text in texts)
    assert "why mid changed is not known: the store no longer holds its compile" in builds.said("top")


def test_no_build_is_said_so(kache: Kache) -> None:
    run = kache.run("why-miss")
    assert run.returncode == 1 and run.stderr.startswith("kache: the event log knows no build")
