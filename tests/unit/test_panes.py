"""Each tab lists what a real store, log and queue hold, in the order asked for."""

import time
from typing import Any, List

import pytest

from kachelib import history, panes
from kachelib.lookout import Look, Lookout, Traffic
from kachelib.sight import Sight
from kachelib.store import Store
from kachelib.stream import Stream
from kachelib.tabs import Tab
from kachelib.tally import Tally
from tests.stock import put, settings_for
from tests.world import World

NOW = time.time()


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may have been collected half an hour ago."""
    monkeypatch.setitem(globals(), "NOW", time.time())


def sight(world: World, *events: Any) -> Sight:
    settings = settings_for(world.cache_dir)
    tally, stream = Tally(), Stream()
    for number, event in enumerate(events):
        whole = {"end_time": NOW - 60 + number, "elapsed_ms": 10.0, **event}
        tally.add(whole)
        stream.add(whole)
    return Sight(settings, tally, stream, Lookout(settings), 0.0, NOW, True, "")


def wait(*looks: "Look[Any]") -> None:
    """Until each was taken once."""
    end = time.monotonic() + 30
    while not all(look.done for look in looks):
        assert time.monotonic() < end
        time.sleep(0.01)


def table(tab: "Tab[Any]", shown: Sight) -> List[List[str]]:
    return [tab.cells(item, shown) for item in tab.rows(shown)]


def orders(tab: "Tab[Any]", shown: Sight, column: int) -> "dict[str, List[str]]":
    found = {}
    for order in tab.orders:
        assert tab.sorted_by() == order.name
        found[order.name] = [cells[column] for cells in table(tab, shown)]
        tab.sort()
    return found


def test_build_shows_the_newest_call_first(world: World) -> None:
    shown = sight(
        world,
        {"result": "miss", "crate_name": "alpha", "crate_types": "lib", "compile_time_ms": 1500, "reason": "first"},
        {"result": "local_hit", "crate_name": "beta", "size": 2048, "elapsed_ms": 3.0, "hardlinked_bytes": 2048},
        {"result": "warmed", "root": "/home/me/app", "warmed": 97},
    )
    tab = panes.Build()
    warmed, hit, miss = table(tab, shown)
    assert warmed[1:5] == ["warmed", "app", "", "warmed 97 units"]
    assert hit[1:] == ["hit", "beta", "", "hard link 2.0 KiB", "", "3 ms", "2.0 KiB"]
    assert miss[1:] == ["miss", "alpha", "lib", "compiled: first", "1.5 s", "10 ms", ""]
    [spark] = tab.head(shown, 80)
    assert spark[1].text == "▁██"
    assert tab.detail(tab.rows(shown)[0], shown).endswith("app: warmed 97 units in /home/me/app")
    by = orders(tab, shown, 2)
    assert by["slowest"][2] == "beta" and by["compile"][0] == "alpha" and by["size"][0] == "beta"
    assert by["crate"] == ["alpha", "app", "beta"]


def test_build_tells_a_newcomer_what_to_do(world: World) -> None:
    assert any("kache init" in line for line in panes.Build().empty(sight(world)))
    assert "r goes back" in panes.Build().empty(sight(world)._replace(since=NOW - 9))[-1]
    assert max(len(line) for line in panes.Build().empty(sight(world))) <= 77


def test_projects_have_sizes_rates_and_last_use(world: World) -> None:
    for name, size in (("one", 50_000), ("two", 9_000_000)):
        target = world.root / name / "target"
        target.mkdir(parents=True)
        (target / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55")
        (target / "big").write_bytes(b"x" * size)
    roots = [str(world.root / name) for name in ("one", "two")]
    hit, miss = {"result": "local_hit", "root": roots[0]}, {"result": "miss", "root": roots[0]}
    old = {"result": "miss", "root": roots[1], "end_time": NOW - 7300}
    shown = sight(world, hit, miss, old, {"result": "miss", "root": "/gone"})
    tab = panes.Projects()
    assert tab.empty(shown) == []
    shown.lookout.tick(shown.tally, 0.0, targets_shown=True)
    wait(shown.lookout.targets)
    one, two = table(tab, shown)
    assert (one[0], one[2], one[4], one[5], one[6]) == (roots[0] + "/target", "0 B", "50.0 %", "1", "59s")
    assert (two[0], two[4], two[6]) == (roots[1] + "/target", "0.0 %", "2h")
    assert two[1].startswith("8.6 MiB")
    assert orders(tab, shown, 0)["size"] == [roots[1] + "/target", roots[0] + "/target"]
    [[told]] = tab.head(shown, 80)
    assert told.text.startswith("2 target directories, 8.6 MiB; 0 B of that is the store's")
    # and what came back by reflink is not called the project's own without a word
    reflinked = sight(world, {**hit, "reflinked_bytes": 9})._replace(lookout=shown.lookout)
    assert tab.head(reflinked, 80)[0][0].text.endswith("reflinks not seen")


def test_store_can_be_sorted_by_everything(world: World) -> None:
    store = Store(str(world.cache_dir))
    put(store, "old_and_big", size=90_000, age=7300)
    put(store, "new_and_small", size=5_000, age=90)
    shown = sight(world)
    tab = panes.Stored()
    assert (tab.rows(shown), tab.empty(shown)) == ([], [])
    shown.lookout.tick(shown.tally, 0.0, targets_shown=False)
    wait(shown.lookout.store)
    by = orders(tab, shown, 0)
    assert by["last use"] == by["name"] == ["new_and_small", "old_and_big"]
    assert by["size"] == ["old_and_big", "new_and_small"]
    new, old = table(tab, shown)
    assert new[1:7] == ["lib", "4.9 KiB", "0", "1.5 s", "1m", "1m"]
    assert old[5] == "2h" and len(old[7]) == 16
    tab.find("AND-big")
    assert [cells[0] for cells in table(tab, shown)] == ["old_and_big"]
    assert "'kache list old_and_big'" in tab.detail(tab.rows(shown)[0], shown)


def test_transfers_are_told_by_direction(world: World) -> None:
    world.cache_dir.mkdir()
    both = {"by": "sync", "pushed": 3, "pushed_bytes": 3 << 20, "pulled": 1, "pulled_bytes": 1024, "elapsed_ms": 2000.0}
    history.record_transfer(str(world.cache_dir), {**both, "failed": 1})
    history.record_transfer(str(world.cache_dir), {**both, "pulled": 0, "pulled_bytes": 0})
    history.record_transfer(
        str(world.cache_dir), {"by": "uploader", "pulled": 2, "pulled_bytes": 99, "elapsed_ms": 0.0}
    )
    shown = sight(world)
    tab = panes.Transfers()
    shown.lookout.tick(shown.tally, 0.0, targets_shown=False)
    wait(shown.lookout.traffic)
    assert [cells[1:] for cells in table(tab, shown)] == [
        ["↓ download", "2", "99 B", "-", "", "uploader"],
        ["↑ upload", "3", "3.0 MiB", "1.5 MiB/s", "", "sync"],
        # who moved both ways at once did not say how long each took
        ["↑ upload", "3", "3.0 MiB", "-", "1", "sync"],
        ["↓ download", "1", "1.0 KiB", "-", "", "sync"],
    ]
    assert orders(tab, shown, 4)["rate"][0] == "1.5 MiB/s"


def test_the_uploader_is_told_while_it_works(world: World) -> None:
    facts = {"pid": "77", "remote": "s3://b", "pushing": "2", "pulling": "0", "pushed": "5", "pushed_bytes": "2048"}
    shown = sight(world)
    tab = panes.Transfers()
    shown.lookout.traffic.found = Traffic({**facts, "pulled": "0", "pulled_bytes": "0"}, 12, 1 << 20, None, [])
    first, second = ("".join(piece.text for piece in line) for line in tab.head(shown, 80))
    assert first == "Uploader process 77, s3://b"
    assert second.strip() == "up 2 at 1.0 MiB/s, 5 done (2.0 KiB); down 0, 0 done (0 B); 12 waiting"


def test_without_a_remote_it_says_what_one_is_for(world: World) -> None:
    assert "No remote is configured" in panes.Transfers().empty(sight(world))[0]


def test_reasons_are_counted_and_errors_are_among_them(world: World) -> None:
    shown = sight(
        world,
        {"result": "passthrough", "reason": "executable", "crate_name": "app"},
        {"result": "passthrough", "reason": "native_library: z", "crate_name": "zlib"},
        {"result": "passthrough", "reason": "native_library: z", "crate_name": "png"},
        {"result": "error", "reason": "no space left", "crate_name": "last"},
    )
    tab = panes.Passed()
    rows = table(tab, shown)
    assert rows[0][1:3] + rows[0][4:] == ["z", "2", "png"]
    assert {row[0] for row in rows} >= {"linked outputs are not cached unless cache_executables is on"}
    assert "error: no space left" in {row[0] for row in rows}
    assert orders(tab, shown, 4)["last"] == ["last", "png", "app"]
    assert [tab.style(item) for item in tab.rows(shown)].count("red") == 1
    assert tab.detail(tab.rows(shown)[0], shown).endswith("thin archive: z")


@pytest.mark.parametrize("tab", panes.all_panes(), ids=lambda tab: tab.name)
def test_a_tab_without_anything_says_so_in_lines_that_fit(world: World, tab: "Tab[Any]") -> None:
    shown = sight(world)
    shown.lookout.tick(shown.tally, 0.0, targets_shown=True)
    wait(shown.lookout.store, shown.lookout.targets, shown.lookout.traffic)
    assert tab.rows(shown) == []
    assert 0 < max(len(line) for line in tab.empty(shown)) <= 77
