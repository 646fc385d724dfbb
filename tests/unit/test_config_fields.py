"""config_fields: what the editor shows of a setting, what it lets people change, and what it writes."""

from pathlib import Path

import pytest

from kachelib import config_target, config_value, setting_texts
from kachelib.config_fields import UNSAVED, Fields
from kachelib.outcome import KacheError
from kachelib.settings import SETTINGS, Setting

TEXT = """\
# mine
[cache]
local_max_size = "20GiB"  # big
exclude = ["a b"]
nix_salt = true
[cache.remote]
endpoint = "https://me:hunter2@s3.example.com"
signing_key = "hunter2"
"""


def row(name: str) -> Setting:
    return config_value.find(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / ".kache.toml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def fields(tmp_path: Path, file: Path) -> Fields:
    return Fields({"HOME": str(tmp_path), "KACHE_COMPRESSION_LEVEL": "7", "KACHE_DISABLED": "1"}, str(tmp_path))


def test_every_setting_has_a_text_that_fits_two_lines() -> None:
    assert set(setting_texts.TEXTS) == {each.name for each in SETTINGS}
    for each in SETTINGS:
        assert 10 < len(setting_texts.of(each)) <= 150, each.name


def test_value_origin_and_default_are_shown(fields: Fields) -> None:
    shown = {each.name: (fields.value(each), fields.origin(each), fields.default(each)) for each in fields.rows()}
    assert len(shown) == len(SETTINGS)
    assert shown["local_max_size"] == ("20GiB", "file", "50GiB")
    assert shown["compression_level"] == ("7", "env (locked)", "3")
    assert shown["key_salt"] == ("-", "default", "-")
    assert shown["exclude"] == ('["a b"]', "file", "-")
    assert shown["log"] == ("kache=warn", "env only", "kache=warn")
    assert shown["cache_dir"][0].endswith("/kache") and shown["cache_dir"][2].startswith("~/")
    assert shown["remote_signing_key"][0] == "***"
    assert shown["remote_endpoint"][0] == "https://***@s3.example.com"
    assert shown["daemon_idle_timeout_secs"] == ("600s", "default", "600s")


def test_what_the_environment_says_is_locked(fields: Fields) -> None:
    assert "KACHE_COMPRESSION_LEVEL is set in the environment" in fields.lock(row("compression_level"))
    assert "KACHE_DISABLED is set in the environment" in fields.lock(row("disabled"))
    assert "only the environment sets this: KACHE_LOG" in fields.lock(row("log"))
    assert fields.lock(row("local_max_size")) == ""


def test_a_filter_finds_by_every_name(fields: Fields) -> None:
    assert [each.name for each in fields.rows("S3 bucket")] == ["remote_bucket"]
    assert [each.name for each in fields.rows("max_size")] == ["local_max_size"]
    assert [each.name for each in fields.rows("normalize cc")] == ["cc_path_normalize"]
    assert fields.rows("zzz") == []


def test_a_change_is_shown_before_it_is_written(fields: Fields, file: Path) -> None:
    size = row("local_max_size")
    assert fields.line(size) == "20GiB"
    assert fields.check(size, "0") == "give a size such as 50GiB, 10GB, 512MiB or 1024MB, more than 0"
    assert fields.check(size, "1TiB") == ""
    fields.put(size, "1TiB")
    assert (fields.value(size), fields.origin(size), fields.line(size)) == ("1TiB", UNSAVED, "1TiB")
    fields.unset(row("nix_salt"))
    assert (fields.value(row("nix_salt")), fields.origin(row("nix_salt"))) == ("false", UNSAVED)
    fields.put(row("daemon_idle_timeout_secs"), "60")
    assert fields.value(row("daemon_idle_timeout_secs")) == "60s"
    assert file.read_text() == TEXT
    fields.revert(size)
    assert fields.value(size) == "20GiB"
    assert fields.save() == []
    assert file.read_text() == TEXT.replace("nix_salt = true\n", "daemon_idle_timeout_secs = 60\n")
    assert not fields.changes and fields.origin(row("daemon_idle_timeout_secs")) == "file"


def test_what_is_as_it_was_is_no_change(fields: Fields) -> None:
    for name, line in (("local_max_size", "20GiB"), ("exclude", '["a b"]')):
        fields.put(row(name), "1" if name == "local_max_size" else "x")
        fields.put(row(name), line)
    fields.toggle(row("nix_salt"))
    fields.toggle(row("nix_salt"))
    fields.unset(row("key_salt"))
    assert fields.changes == {}


def test_switches_and_choices_are_toggled(fields: Fields) -> None:
    seen = []
    for _ in range(4):
        assert fields.toggle(row("remote_addressing"))
        seen.append(fields.value(row("remote_addressing")))
    assert seen == ["path", "virtual", "auto", "path"]
    assert fields.toggle(row("nix_salt")) and fields.value(row("nix_salt")) == "false"
    assert not fields.toggle(row("key_salt"))


def test_a_secret_is_in_no_line(fields: Fields) -> None:
    for name in ("remote_signing_key", "remote_endpoint"):
        assert fields.line(row(name)) == ""
        fields.put(row(name), "http://x:hunter3@h")
        assert "hunter3" not in fields.value(row(name)) + fields.line(row(name))


def test_what_another_program_wrote_is_kept(fields: Fields, file: Path) -> None:
    fields.put(row("local_max_size"), "1TiB")
    file.write_text(TEXT + "readonly = true\n")
    with pytest.raises(config_target.Changed):
        fields.save()
    assert file.read_text() == TEXT + "readonly = true\n"
    fields.take(str(file))
    fields.save()
    assert file.read_text() == TEXT.replace("20GiB", "1TiB") + "readonly = true\n"


def test_a_file_that_is_not_toml_cannot_be_changed(tmp_path: Path, file: Path) -> None:
    file.write_text("[cache\n")
    fields = Fields({"HOME": str(tmp_path)}, str(tmp_path))
    assert fields.trouble == f"{file} is not TOML: Expected ']' at the end of a table declaration (at line 1, column 7)"
    assert fields.lock(row("nix_salt")) == fields.trouble
    assert fields.value(row("nix_salt")) == "false"


def test_a_value_that_is_wrong_in_the_file_can_be_mended(tmp_path: Path, file: Path) -> None:
    file.write_text("[cache]\nlocal_max_size = 1.5\nexclude = [1]\n")
    fields = Fields({"HOME": str(tmp_path)}, str(tmp_path))
    assert len(fields.settings.problems) == 2
    for name in ("local_max_size", "exclude"):
        assert fields.lock(row(name)) == ""
        fields.put(row(name), fields.line(row(name)) or "x")
    fields.save()
    assert not fields.settings.problems


def test_without_a_file_one_is_chosen(tmp_path: Path) -> None:
    fields = Fields({"HOME": str(tmp_path)}, str(tmp_path))
    assert fields.target is None and fields.trouble == ""
    fields.put(row("local_max_size"), "1GiB")
    fields.take(config_target.user(fields.environ))
    assert fields.save() == []
    assert (tmp_path / ".config/kache/config.toml").read_text() == '[cache]\nlocal_max_size = "1GiB"\n'


def test_trouble_on_the_way_loses_no_change(fields: Fields, file: Path) -> None:
    file.unlink()
    file.mkdir()
    fields.put(row("local_max_size"), "1TiB")
    with pytest.raises(KacheError):
        fields.save()
    assert fields.changes == {"cache.local_max_size": "1TiB"}
