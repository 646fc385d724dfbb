"""purge removes what kache keeps, or one crate's part of it, and nothing else."""

import json
import os
from pathlib import Path

import pytest

from kachelib import cli, index
from kachelib.store import Store
from tests.stock import action_of, blob_paths, log, put
from tests.world import World


@pytest.fixture
def store(world: World) -> Store:
    return Store(str(world.cache_dir))


def test_everything_goes_but_the_directory_and_the_log(world: World, store: Store) -> None:
    put(store, "alpha", stderr=b"a warning", age=0)
    put(store, "beta", change="edit", age=0)
    log(world.cache_dir, {"result": "miss"})
    (world.cache_dir / "memo").mkdir(exist_ok=True)
    (world.cache_dir / "memo/x").write_text("x")
    assert cli.main(["purge"]) == 0
    assert blob_paths(world.cache_dir) == []
    assert list((world.cache_dir / "entries").iterdir()) == []
    assert (world.cache_dir / "events.jsonl").exists()
    assert not (world.cache_dir / "memo/x").exists()
    assert not (world.cache_dir / index.FILE_NAME).exists()
    put(store, "alpha")
    with index.opened(store.root) as view:
        assert [item.crate_name for item in view.items()] == ["alpha"], "it is a store as before"


def test_one_crate_goes_and_shared_blobs_stay(world: World, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    put(store, "alpha_one", content=b"shared" * 900)
    put(store, "alpha_one", change="edit", content=b"mine" * 900)
    beta = put(store, "beta", content=b"shared" * 900)
    assert cli.main(["purge", "--crate-name", "alpha-one", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["entries_removed"], document["blobs_removed"]) == (1, 1)
    assert store.read_entry(action_of("alpha_one")) is None
    assert [path.name for path in blob_paths(world.cache_dir)] == [beta.outputs[0].digest]


def test_an_unknown_crate_is_an_error(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    put(store, "alpha")
    assert cli.main(["purge", "--crate-name", "gamma"]) == 1
    assert "no entry of a crate named 'gamma'" in capsys.readouterr().err


def test_no_link_leads_out_of_the_store(world: World, store: Store) -> None:
    candidate = put(store, "alpha", age=0)
    outside = world.root / "precious"
    outside.mkdir()
    name = "ab" + "0" * 62
    (outside / name).write_text("mine")
    (world.cache_dir / "store/ab").symlink_to(outside)
    blob = Path(store.blob_path(candidate.outputs[0].digest))
    (blob.parent / (blob.name[:2] + "f" * 62)).symlink_to(outside / name)
    cli.main(["purge"])
    assert (outside / name).read_text() == "mine"
    assert not blob.exists()


def test_a_store_that_is_a_link_is_not_followed(world: World, store: Store) -> None:
    put(store, "alpha", age=0)
    elsewhere = world.root / "elsewhere"
    os.rename(world.cache_dir / "store", elsewhere)
    (world.cache_dir / "store").symlink_to(elsewhere)
    cli.main(["purge"])
    assert list(elsewhere.glob("*/*")) != []


def test_what_kache_did_not_name_stays(world: World, store: Store) -> None:
    put(store, "alpha")
    stranger = world.cache_dir / "store" / "README"
    stranger.write_text("notes")
    inside = next(path for path in (world.cache_dir / "store").iterdir() if path.is_dir()) / "notes"
    inside.write_text("notes")
    assert cli.main(["purge"]) == 0
    assert stranger.exists() and inside.exists()


def test_nothing_to_remove_is_no_error(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["purge"]) == 0
    assert "nothing to remove" in capsys.readouterr().out
    assert not world.cache_dir.exists()
