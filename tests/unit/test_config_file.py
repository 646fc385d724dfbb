"""config_file: what a wrong file is told, and that no file at all makes it raise."""

import os
import sys
from pathlib import Path
from typing import List

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kachelib import config_file
from kachelib.config import FileSettings
from kachelib.settings import CHOICE, COUNT, FLAG, GLOBS, LISTS, SECONDS, SETTINGS, SIZE, Setting


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def read(file: Path, text: str) -> FileSettings:
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    return config_file.read(str(file))


def toml(key: str, value: str) -> str:
    table, _, name = key.rpartition(".")
    return f"[{table}]\n{name} = {value}\n"


IN_FILE = [row for row in SETTINGS if row.key]


@pytest.mark.parametrize("row", IN_FILE, ids=lambda row: str(row.key))
def test_wrong_types_name_file_key_and_what_is_accepted(row: Setting, file: Path) -> None:
    wrong = {
        "a boolean": "true",
        "a number": "1.5",
        "a string": '"x"',
        "a list": "[]",
        "a list with a number": '["x", 1]',
        "a table": "{}",
        "a date or time": "1979-05-27",
    }
    if row.kind == FLAG:
        del wrong["a boolean"]
        wrong["a number"] = "1"
    elif row.kind in LISTS:
        del wrong["a list"]
    else:
        del wrong["a string"]
    if row.kind == COUNT:
        wrong["a string"] = '"3"'
    for name, value in wrong.items():
        found = read(file, toml(row.key, value))
        assert found.broken and row.name not in found.values
        (problem,) = found.problems
        assert problem.startswith(f"{file}: {row.key} is {name}; give "), problem


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("cache.compression_level", "0", "from 1 to 22"),
        ("cache.compression_level", "23", "from 1 to 22"),
        ("cache.local_max_size", '"big"', "50GiB"),
        ("cache.local_max_size", "0", "more than 0"),
        ("cache.local_max_size", "-5", "50GiB"),
        ("cache.s3_pool_idle_secs", '"soon"', "10m"),
        ("cache.s3_pool_idle_secs", "-1", "10m"),
        ("cache.remote.type", '"gcs"', "s3"),
        ("cache.exclude", '["a["]', "["),
        ("cache.exclude", '[""]', "empty"),
        ("cache.key_env_vars", '["A=1"]', "names"),
        ("cache.key_env_vars", '[""]', "names"),
        ("cc.extra_allowlist_flags", '[""]', "list of strings"),
        ("cache.key_salt", '"a\\u0000b"', "NUL"),
        ("cache.local_store", '"a\\u0000b"', "NUL"),
    ],
)
def test_wrong_values_name_file_key_and_what_is_accepted(key: str, value: str, said: str, file: Path) -> None:
    found = read(file, toml(key, value))
    assert found.broken and not found.values
    (problem,) = found.problems
    assert problem.startswith(f"{file}: {key} ") and said in problem and problem.isprintable()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[cache]\nexlude = []", ["cache.exlude is not a setting", "did you mean cache.exclude?", "local_store"]),
        ("[cache]\nbucket = 'b'", ["cache.bucket", "did you mean cache.remote.bucket?"]),
        ("[cache]\ns3_bucket = 'b'", ["cache.s3_bucket is not a setting"]),
        ("[cache]\ncache_dir = 'b'", ["did you mean cache.local_store?"]),
        ("[cache]\nKACHE_MAX_SIZE = '1GB'", ["did you mean cache.local_max_size?"]),
        ("[cache]\ndisabled = true", ["did you mean KACHE_DISABLED?"]),
        ("[cash]\nexclude = []", ["cash is not a setting", "did you mean cache?", "accepted at the top: cache, cc"]),
        ("key_salt = 'x'", ["key_salt", "did you mean cache.key_salt?"]),
        ("[cache.remote]\nregoin = 'x'", ["did you mean cache.remote.region?", "in [cache.remote]: addressing"]),
        ("[cc]\nflags = []", ["cc.flags", "extra_allowlist_flags"]),
        ("'cache.exclude' = []", ["cache.exclude is not a setting", "at the top"]),
        ('[cache]\n"a\\nb" = 1', ["'a\\nb'"]),
        ('[cache]\n"" = 1', ["''"]),
    ],
)
def test_unknown_keys_are_named_and_passed_over(text: str, parts: List[str], file: Path) -> None:
    found = read(file, text)
    assert not found.broken and not found.values
    (problem,) = found.problems
    assert problem.startswith(str(file)) and problem.isprintable()
    for part in parts:
        assert part in problem


def test_a_table_where_a_table_belongs(file: Path) -> None:
    found = read(file, "cache = 1")
    assert found.broken and found.problems == (f"{file}: cache is a number; it is a table: [cache]",)
    assert read(file, "[cache]\nremote = 's3'").problems == (
        f"{file}: cache.remote is a string; it is a table: [cache.remote]",
    )


def test_several_mistakes_are_all_told_and_the_rest_holds(file: Path) -> None:
    found = read(file, "[cache]\na = 1\nkey_salt = 5\ncompression_level = 9\nb = 2\n")
    assert len(found.problems) == 3 and found.broken
    assert found.values == {"compression_level": 9}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[cache]\nkey_salt", "line 2, column 9"),
        ("[cache]\nkey_salt = \n", "line 2"),
        ("[cache\n", "line 1"),
        ("[cache]\nkey_salt = 'a'\nkey_salt = 'b'\n", "line 3"),
        ("a = " + "[" * 5000, ""),
    ],
)
def test_what_is_not_toml_is_told_with_its_place(text: str, where: str, file: Path) -> None:
    found = read(file, text)
    assert found.broken and not found.values
    (problem,) = found.problems
    assert problem.startswith(f"{file} is not TOML: ") and where in problem and problem.isprintable()


def test_what_is_not_text(file: Path) -> None:
    file.write_bytes(b"[cache]\nkey_salt = '\xff'\n")
    assert config_file.read(str(file)).problems == (f"{file} is not UTF-8 (at line 2)",)
    file.write_bytes(b"\xef\xbb\xbf[cache]\r\nkey_salt = 'x'\r\n")
    assert config_file.read(str(file)).values == {"key_salt": "x"}


def test_what_is_no_file_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "none", "cannot be read"),
        (Path("/dev/zero"), "larger than 1 MiB"),
    ):
        found = config_file.read(str(path))
        assert found.broken and said in found.problems[0]
    assert config_file.read("/dev/null").problems == ()


def test_dotted_and_inline_tables(file: Path) -> None:
    found = read(file, "cache.remote = {bucket = 'b', region = 'r'}\ncc.extra_allowlist_flags = ['-x']\n")
    assert found.values == {
        "remote_bucket": "b",
        "remote_region": "r",
        "cc_extra_allowlist_flags": ("-x",),
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60) | st.text("[]cache.remote='\"\n= 15t{},#", max_size=60))
def test_no_text_makes_it_raise(file: Path, text: str) -> None:
    found = read(file, text)
    assert all(problem.isprintable() for problem in found.problems)
    file.write_bytes(text.encode("utf-16", "surrogatepass"))
    config_file.read(str(file))
    config_file.read_extra_inputs(str(file))


PLAIN = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)


def quoted(text: str) -> str:
    return '"' + "".join(f"\\U{ord(character):08X}" for character in text) + '"'


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_what_a_file_says_is_what_is_read(file: Path, data: st.DataObject) -> None:
    text, expected = "", {}
    for row in data.draw(st.lists(st.sampled_from(IN_FILE), unique=True)):
        value: object
        if row.kind == FLAG:
            value = data.draw(st.booleans())
            written = str(value).lower()
        elif row.kind in (COUNT, SIZE, SECONDS):
            value = data.draw(st.integers(row.low, row.high))
            written = str(value)
        elif row.kind == GLOBS:
            value = tuple(data.draw(st.lists(st.text("a*/?.", min_size=1, max_size=8))))
            written = "[" + ", ".join(map(quoted, value)) + "]"
        elif row.kind in LISTS:
            value = tuple(data.draw(st.lists(PLAIN.filter(lambda name: "=" not in name))))
            written = "[" + ", ".join(map(quoted, value)) + "]"
        elif row.kind == CHOICE:
            value = data.draw(st.sampled_from(row.choices))
            written = quoted(value)
        else:
            value = data.draw(PLAIN)
            written = quoted(value)
        expected[row.name] = value
        text += f"{row.key} = {written}\n"
    found = read(file, text)
    assert (found.values, found.problems, found.broken) == (expected, (), False)


def test_a_python_without_a_parser_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tomllib" if sys.version_info >= (3, 11) else "tomli", None)
    found = read(file, "")
    assert found.broken and str(file) in found.problems[0]
