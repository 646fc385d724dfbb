"""list shows every entry once, in the order asked for, and one crate in detail."""

import json
import time
from typing import List

import pytest

from kachelib import cli
from kachelib.store import Store
from tests.stock import log, put
from tests.world import World


@pytest.fixture
def store(world: World) -> Store:
    store = Store(str(world.cache_dir))
    put(store, "alpha", size=30_000, age=50)
    big = put(store, "beta", size=90_000, age=5000)
    put(store, "gamma", size=10_000, age=90_000)
    hit = {"result": "local_hit", "cache_key": big.cache_key, "end_time": time.time() - 5000}
    log(world.cache_dir, hit, hit, hit)
    return store


def names(capsys: pytest.CaptureFixture[str]) -> List[str]:
    lines = capsys.readouterr().out.splitlines()
    return [line.split()[0] for line in lines[1:-1]]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("name", ["alpha", "beta", "gamma"]),
        ("size", ["beta", "alpha", "gamma"]),
        ("hits", ["beta", "alpha", "gamma"]),
        ("age", ["alpha", "beta", "gamma"]),
    ],
)
def test_list_is_in_the_order_asked_for(
    store: Store, capsys: pytest.CaptureFixture[str], sort: str, order: List[str]
) -> None:
    assert cli.main(["list", "--sort", sort]) == 0
    assert names(capsys) == order


def test_a_row_says_types_size_hits_and_age(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["list"])
    out = capsys.readouterr().out
    assert out.splitlines()[2].split()[:6] == ["beta", "lib", "87.9", "KiB", "3", "1h"]
    assert out.endswith("3 entries, 127.0 KiB\n")


def test_one_crate_is_shown_in_detail(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(str(world.cache_dir))
    candidate = put(store, "delta", env=[("MY_TOKEN", "hunter2"), ("PLAIN", "value")])
    assert cli.main(["list", "delta"]) == 0
    out = capsys.readouterr().out
    assert candidate.cache_key in out
    assert "libdelta.rlib" in out
    assert "value" in out
    assert "hunter2" not in out


def test_json_carries_everything_a_script_would_ask_for(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "--json", "--sort", "size"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    first = document["entries"][0]
    assert (first["crate_name"], first["size"], first["hits"], first["compile_time_ms"]) == ("beta", 90_000, 3, 1500)
    assert cli.main(["list", "beta", "--json"]) == 0
    [detail] = json.loads(capsys.readouterr().out)["entries"]
    assert detail["outputs"][0]["name"] == "libbeta.rlib"
    assert detail["inputs"][0]["path"] == "<workspace>/src/lib.rs"


def test_an_unknown_crate_is_an_error(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "nobody"]) == 1
    assert "no entry of a crate named 'nobody'" in capsys.readouterr().err


def test_an_empty_store_is_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().out == "0 entries, 0 B\n"


def test_an_entry_that_goes_while_it_is_shown_is_shown_without_details(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "read_entry", lambda self, key: None)
    assert cli.main(["list", "alpha"]) == 0
    assert "alpha (lib)" in capsys.readouterr().out
