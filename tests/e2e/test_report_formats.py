"""report of real builds: JSON that its schema describes, a trace with its jobs, and one workspace of several."""

import json
import shutil
from pathlib import Path
from typing import Any, Callable, Dict

import pytest

from tests import schema, trace
from tests.e2e.shop import SHOP, USES
from tests.page import Page
from tests.world import Cargo, Kache, World


@pytest.fixture
def shop(workspace: Callable[..., Path], cargo: Cargo) -> Path:
    """Built twice, the second time from the cache but for what a change brings with it."""
    ws = workspace(SHOP, name="shop")
    cargo("build", cwd=ws, env={"CARGO_BUILD_JOBS": "4"}).ok()
    shutil.rmtree(ws / "target")
    with (ws / "search/src/lib.rs").open("a") as source:
        source.write("pub fn more() {}\n")
    cargo("build", cwd=ws, env={"CARGO_BUILD_JOBS": "4"}).ok()
    return ws


def document(kache: Kache, *arguments: str) -> Dict[str, Any]:
    found = json.loads(kache.run("report", "--json", *arguments).ok().stdout)
    schema.check(found)
    assert isinstance(found, dict)
    return found


def test_every_format_of_a_real_build(shop: Path, kache: Kache, world: World) -> None:
    events = world.events()
    found = document(kache)
    # all but search, api and pages were hits; the program is linked, not cached
    assert (found["summary"]["local_hits"], found["summary"]["misses"]) == (13, 16 + 3)
    assert found["summary"]["passthroughs"] == 2
    document(kache, "--top", "1", "--since", "1h", "--root", str(shop))

    seen = trace.read(kache.run("report", "--format", "perfetto", "--output", "-").ok().stdout)
    assert sorted(call["dur"] for call in seen.calls) == sorted(round(event["elapsed_ms"] * 1000) for event in events)
    assert {call["name"].partition(" ")[0] for call in seen.calls} == set(USES)
    timed = [call for call in seen.calls if call["dur"]]
    assert 1 < trace.most_at_once(timed) == len({call["tid"] for call in timed}) <= 4
    assert {name for (_, tid), name in seen.names.items() if not tid} <= {
        name for name in seen.names.values() if name.startswith("shop, 20")
    }

    page = Page(kache.run("report", "--html", "--top", "20").ok().stdout.rstrip("\n"))
    bars = [element for element in page.all("rect") if "y" in element.attributes]
    assert len(bars) == len(events)
    shown = {element.text for element in page.all("td")}
    assert "changed: <workspace>/search/src/lib.rs" in shown
    assert "changed: dependency search" in shown
    assert "linked outputs are not cached" in kache.run("report", "--format", "github", "--root", str(shop)).ok().stdout


SMALL = {
    "Cargo.toml": """
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2021"
        [dependencies]
        part = { path = "../part" }
        """,
    "src/lib.rs": "pub use part::one;\n",
}
PART = {
    "Cargo.toml": '[package]\nname = "part"\nversion = "0.1.0"\nedition = "2021"\n',
    "src/lib.rs": "pub fn one() -> u32 { 1 }\n",
}


def test_root_takes_the_dependencies_of_a_workspace_along(
    workspace: Callable[..., Path], cargo: Cargo, kache: Kache, world: World
) -> None:
    """A dependency from outside the workspace names the target directory, and no more."""
    workspace(PART, name="part")
    one, two = workspace(SMALL, name="one"), workspace(SMALL, name="two")
    cargo("build", cwd=one).ok()
    cargo("build", cwd=two, env={"CARGO_TARGET_DIR": str(world.root / "elsewhere")}).ok()
    assert document(kache)["meta"]["event_count"] == 4
    assert document(kache, "--root", "one")["meta"]["event_count"] == 2
    # nothing in the log says whose the other target directory is
    assert document(kache, "--root", str(two))["meta"]["event_count"] == 1
    assert document(kache, "--root", "two", "--root", "elsewhere")["meta"]["event_count"] == 2


def test_root_knows_a_target_directory_that_was_warmed(
    workspace: Callable[..., Path], cargo: Cargo, kache: Kache, world: World
) -> None:
    workspace(PART, name="part")
    ws = workspace(SMALL, name="ws")
    place = world.root / "elsewhere"
    env = {"CARGO_TARGET_DIR": str(place), "KACHE_WARM_TARGETS": "1"}
    cargo("build", cwd=ws, env=env).ok()
    kache.run("save", cwd=ws, env=env).ok()
    shutil.rmtree(place)
    with (world.root / "part/src/lib.rs").open("a") as source:
        source.write("pub fn two() -> u32 { 2 }\n")
    run = cargo("build", cwd=ws, env=env).ok()
    assert [event["result"] for event in run.events if event["result"] == "warmed"] == ["warmed"]
    found = document(kache, "--root", str(ws))
    assert found["meta"]["event_count"] == len(world.events())
    assert {miss["crate_name"] for miss in found["top_misses"]} == {"app", "part"}


def test_page_and_trace_are_for_files(world: World, kache: Kache, require_tool: Callable[[str], str]) -> None:
    """On a terminal they are not printed, unless somebody asks for just that."""
    script = require_tool("script")
    for form in ("html", "perfetto"):
        command = f"{kache.path} report --format {form}"
        refused = world.run([script, "-qec", command, "/dev/null"])
        assert refused.returncode == 2
        assert "--output" in refused.stdout
        shown = world.run([script, "-qec", command + " --output -", "/dev/null"]).ok().stdout
        assert ("</html>" if form == "html" else "traceEvents") in shown
