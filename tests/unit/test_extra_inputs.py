"""extra_inputs: every rule of "Extra cache-key inputs", and the memo that spares the parsing."""

import os
import time
from pathlib import Path
from typing import Callable, List, Optional

import pytest

from kachelib import config_file, extra_inputs, glob_walk
from kachelib.extra_inputs import ExtraInputs

Declare = Callable[..., ExtraInputs]


@pytest.fixture
def crate(tmp_path: Path) -> Path:
    path = tmp_path / "ws/crate"
    for name in (".sqlx/query-1.json", ".sqlx/deep/query-2.json", ".sqlx/notes.txt", "migrations/1.sql", "src/lib.rs"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(name)
    (tmp_path / "ws/shared").mkdir()
    (tmp_path / "ws/shared/x.sql").write_text("")
    return path


@pytest.fixture
def declare(crate: Path, tmp_path: Path) -> Declare:
    """``declare(pattern, …)`` or ``declare(text="…")``: write ``kache.toml`` and read it."""

    def call(*patterns: str, text: Optional[str] = None) -> ExtraInputs:
        quoted = ", ".join(f"'{pattern}'" for pattern in patterns)
        (crate / "kache.toml").write_text(f"extra_inputs = [{quoted}]\n" if text is None else text)
        return read(crate, tmp_path)

    return call


def read(crate: Path, tmp_path: Path) -> ExtraInputs:
    found = extra_inputs.read(str(crate), str(tmp_path / "memo"))
    assert found is not None
    return found


def names(extra: ExtraInputs) -> List[str]:
    assert extra.error == ""
    return [name for name, _ in extra.files]


def test_a_crate_without_kache_toml_is_unaffected(crate: Path, tmp_path: Path) -> None:
    assert extra_inputs.read(str(crate), str(tmp_path / "memo")) is None
    assert extra_inputs.read(str(crate / "none"), "") is None
    assert extra_inputs.read(str(crate / "src/lib.rs"), "") is None
    assert not (tmp_path / "memo").exists()


def test_files_go_by_their_path_in_the_crate(declare: Declare, crate: Path) -> None:
    extra = declare(".sqlx/**/*.json", "migrations/**/*.sql")
    assert extra.files == (
        (".sqlx/deep/query-2.json", f"{crate}/.sqlx/deep/query-2.json"),
        (".sqlx/query-1.json", f"{crate}/.sqlx/query-1.json"),
        ("migrations/1.sql", f"{crate}/migrations/1.sql"),
    )
    assert extra.patterns == (".sqlx/**/*.json", "migrations/**/*.sql")
    assert extra.warnings == ()
    assert extra.file == f"{crate}/kache.toml"


@pytest.mark.parametrize("pattern", [".sqlx", ".sqlx/", "./.sqlx", ".sqlx/**"])
def test_a_bare_directory_is_everything_under_it(pattern: str, declare: Declare) -> None:
    assert names(declare(pattern)) == [".sqlx/deep/query-2.json", ".sqlx/notes.txt", ".sqlx/query-1.json"]


def test_patterns_count_where_nothing_matches(declare: Declare, crate: Path) -> None:
    extra = declare("none/**", "b", "a")
    assert (extra.patterns, extra.files, extra.error) == (("none/**", "b", "a"), (), "")
    assert extra.directories == (str(crate),), "a match can only appear there"


def test_a_pattern_can_only_add(declare: Declare) -> None:
    assert names(declare("migrations", "!migrations/1.sql", "none")) == ["migrations/1.sql"]


def test_files_are_named_once(declare: Declare) -> None:
    assert names(declare("migrations", "migrations/*.sql", "**/1.sql")) == ["migrations/1.sql"]


def test_outside_by_dots_is_allowed_with_a_warning(declare: Declare, crate: Path) -> None:
    extra = declare("../shared/*.sql")
    assert extra.files == (("../shared/x.sql", f"{crate.parent}/shared/x.sql"),)
    (warning,) = extra.warnings
    assert "kache.toml" in warning and "'../shared/*.sql'" in warning and "outside the crate" in warning
    assert names(declare("../crate/migrations")) == ["migrations/1.sql"]


def test_outside_by_an_absolute_path_is_allowed_with_a_warning(declare: Declare, crate: Path) -> None:
    pattern = f"{crate.parent}/shared/*.sql"
    extra = declare(pattern)
    path = f"{crate.parent}/shared/x.sql"
    assert extra.files == ((path, path),), "by its absolute path: the machine's"
    assert len(extra.warnings) == 1 and "outside the crate" in extra.warnings[0]


def test_the_root_of_the_file_system_is_warned_of(declare: Declare) -> None:
    (warning,) = declare("/no-such-file-*").warnings
    assert "root of the file system" in warning


def test_a_pattern_that_spans_too_much_is_an_error(declare: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glob_walk, "MOST_VISITED", 3)
    extra = declare("src/*.rs", "**/*")
    assert "'**/*'" in extra.error and "kache.toml" in extra.error and "narrow" in extra.error
    assert (extra.files, extra.patterns, extra.directories, extra.warnings) == ((), (), (), ())


def test_many_files_are_warned_of(declare: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extra_inputs, "MANY_FILES", 2)
    assert declare("migrations").warnings == ()
    (warning,) = declare(".sqlx").warnings
    assert "3 files" in warning


def test_what_looks_like_a_variable_is_warned_of(declare: Declare) -> None:
    assert len(declare("~/x").warnings) == len(declare("$HOME/x").warnings) == 1


def test_the_directories_tell_of_new_files(declare: Declare, crate: Path) -> None:
    extra = declare(".sqlx/**/*.json", "migrations/*.sql")
    assert extra.directories == tuple(f"{crate}/{name}" for name in (".sqlx", ".sqlx/deep", "migrations"))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("extra_input = []", ["extra_input ", "the only key is extra_inputs"]),
        ("[cache]\nkey_salt = 'x'", ["cache ", ".kache.toml"]),
        ("extra_inputs = ['a']\n[other]\n", ["other "]),
        ("extra_inputs = 'a'", ["a string", "list of strings"]),
        ("extra_inputs = ['a', 1]", ["a list with a number", "list of strings"]),
        ("extra_inputs = [['a']]", ["list of strings"]),
        ("extra_inputs = {a = 1}", ["a table"]),
        ("extra_inputs = ['']", ["empty"]),
        ("extra_inputs = ['a[']", ["'a['", "["]),
        ('extra_inputs = ["a\\u0000b"]', ["NUL"]),
        ("extra_inputs = [\n'a'\n'b']", ["not TOML", "line 3, column 1"]),
        ("nonsense", ["not TOML", "line 1"]),
    ],
)
def test_anything_else_is_a_loud_error(text: str, parts: List[str], declare: Declare, crate: Path) -> None:
    extra = declare(text=text)
    assert extra.error.startswith(f"{crate}/kache.toml")
    assert extra.error.isprintable()
    for part in parts:
        assert part in extra.error
    assert (extra.files, extra.patterns) == ((), ())


def test_an_empty_file_declares_nothing(declare: Declare) -> None:
    extra = declare(text="")
    assert (extra.patterns, extra.files, extra.error) == ((), (), "")


def test_what_is_no_file_is_an_error(crate: Path, tmp_path: Path) -> None:
    (crate / "kache.toml").mkdir()
    assert "not a regular file" in read(crate, tmp_path).error
    (crate / "kache.toml").rmdir()
    os.mkfifo(crate / "kache.toml")
    assert "not a regular file" in read(crate, tmp_path).error
    (crate / "kache.toml").unlink()
    (crate / "kache.toml").symlink_to("kache.toml")
    assert "cannot be read" in read(crate, tmp_path).error


def test_a_known_file_is_not_parsed_again(
    declare: Declare, crate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare("migrations", "é", ".sqlx/*.json")
    time.sleep(0.08)
    first = read(crate, tmp_path)
    parsed: List[str] = []

    def count(path: str) -> "tuple[tuple[str, ...], str]":
        parsed.append(path)
        return ("src",), ""

    monkeypatch.setattr(config_file, "read_extra_inputs", count)
    second = read(crate, tmp_path)
    assert (second.patterns, second.files) == (first.patterns, first.files) and not parsed
    (crate / "migrations/2.sql").write_text("")
    assert "migrations/2.sql" in names(read(crate, tmp_path)), "the tree is walked each time"
    (crate / "kache.toml").write_text("extra_inputs = []")
    assert names(read(crate, tmp_path)) == ["src/lib.rs"] and parsed, "changed: parsed again"


def test_a_damaged_memo_is_none(declare: Declare, crate: Path, tmp_path: Path) -> None:
    declare("migrations")
    time.sleep(0.08)
    whole = read(crate, tmp_path)
    (path,) = [path for path in (tmp_path / "memo").rglob("*") if path.is_file()]
    data = path.read_bytes()
    for at in range(len(data)):
        for damaged in (data[:at], data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]):
            path.write_bytes(damaged)
            assert (read(crate, tmp_path).patterns, read(crate, tmp_path).error) == (whole.patterns, ""), at


def test_an_error_is_not_kept(declare: Declare, crate: Path, tmp_path: Path) -> None:
    declare(text="nonsense")
    time.sleep(0.08)
    assert read(crate, tmp_path).error
    assert not (tmp_path / "memo").exists()


def test_without_a_memo_directory(declare: Declare, crate: Path) -> None:
    declare("migrations")
    time.sleep(0.08)
    found = extra_inputs.read(str(crate), "")
    assert found is not None and names(found) == ["migrations/1.sql"]
