"""config_show: every value with its origin, and no secret."""

import json
from pathlib import Path
from typing import Dict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kachelib import config, config_show
from kachelib.settings import SETTINGS

SECRETS = {
    "KACHE_S3_ACCESS_KEY": "AKIAHUNTER2",
    "KACHE_S3_SECRET_KEY": "hunter2",
    "KACHE_S3_ENDPOINT": "https://hunter2:hunter2@s3.example.com:9000/path?token=hunter2#hunter2",
}


def load(tmp_path: Path, text: str = "", **environ: str) -> config.Settings:
    (tmp_path / ".kache.toml").write_text(text)
    full: Dict[str, str] = {"HOME": "/home/me", **environ}
    return config.load(full, (str(tmp_path),))


def lines(text: str) -> Dict[str, str]:
    """Value and origin by the name of the setting."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(" ")
        found[name] = " ".join(rest.split())
    return found


def test_every_setting_is_shown_with_its_origin(tmp_path: Path) -> None:
    file = tmp_path / ".kache.toml"
    settings = load(
        tmp_path,
        '[cache]\nexclude = ["a/**", "ü"]\nlocal_max_size = "10GB"\n',
        KACHE_CACHE_EXECUTABLES="1",
        KACHE_DAEMON_IDLE_TIMEOUT="10m",
    )
    text = config_show.show(settings, json=False)
    assert text.startswith(f"configuration file: {file}\n")
    shown = lines(text)
    assert {row.key or row.env for row in SETTINGS} <= set(shown)
    assert shown["cache.exclude"] == f'["a/**", "ü"] file {file}'
    assert shown["cache.local_max_size"] == f"10GB file {file}"
    assert shown["cache.cache_executables"] == "true env KACHE_CACHE_EXECUTABLES"
    assert shown["cache.daemon_idle_timeout_secs"] == "600s env KACHE_DAEMON_IDLE_TIMEOUT"
    assert shown["cache.local_store"] == "/home/me/.cache/kache default"
    assert shown["cache.key_salt"] == "- default"
    assert "problem" not in text and "warning" not in text


def test_json(tmp_path: Path) -> None:
    settings = load(tmp_path, "[cache]\nnope = 1\n", KACHE_MAX_SIZE="1GiB", KACHE_KEY_SALT="\udc80")
    document = json.loads(config_show.show(settings, json=True))
    assert document["file"] == str(tmp_path / ".kache.toml")
    assert set(document["settings"]) == {row.name for row in SETTINGS}
    size = {"value": 1 << 30, "origin": "env KACHE_MAX_SIZE", "key": "cache.local_max_size", "env": "KACHE_MAX_SIZE"}
    assert document["settings"]["local_max_size"] == size
    assert document["settings"]["disabled"]["value"] is False
    assert document["settings"]["exclude"]["value"] == []
    assert "cache.nope" in document["problems"][0]
    assert document["warnings"] == []


@pytest.mark.parametrize("as_json", [False, True])
def test_secrets_are_masked(as_json: bool, tmp_path: Path) -> None:
    text = '[cache.remote]\nendpoint = "http://hunter2@h"\nsecret_key = "hunter2"\n'
    for settings in (load(tmp_path, text), load(tmp_path, text, **SECRETS)):
        shown = config_show.show(settings, as_json)
        assert "hunter2" not in shown.lower()
        assert "***" in shown
    assert "s3.example.com:9000/path" in shown, "what is no secret is shown"


def test_problems_and_warnings_are_listed(tmp_path: Path) -> None:
    shown = config_show.show(load(tmp_path, "[cache]\nnope = 1\n", KACHE_PROGRESS="x"), json=False)
    assert "problem: " in shown and "cache.nope" in shown and "KACHE_PROGRESS" in shown
    shown = config_show.show(load(tmp_path, KACHE_CONFIG="/no/such.toml"), json=False)
    assert "warning: /no/such.toml does not exist" in shown
    assert "configuration file: none" in config_show.show(config.load({}, ("/",)), json=False)


@given(st.integers(0, 2**60))
def test_sizes_are_shown_exactly(size: int) -> None:
    assert config.parse_size(config_show.size_text(size)) == size


@pytest.mark.parametrize(
    ("size", "text"), [(50 << 30, "50GiB"), (10**10, "10GB"), (1023, "1023B"), (0, "0B"), (1536 << 20, "1536MiB")]
)
def test_size_text(size: int, text: str) -> None:
    assert config_show.size_text(size) == text
