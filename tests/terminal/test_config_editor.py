"""The editor of settings, driven as people drive it."""

import os
import signal
import threading
from pathlib import Path
from typing import Callable, List, Tuple

import pytest

from kachelib.settings import SETTINGS
from tests.terminal.tmux import Tmux
from tests.world import Cargo, Kache, World

Editor = Callable[..., Tmux]

USERS = """\
# what I build with
[cache]
local_max_size = "20GiB"     # the disk is small
exclude = ["crates/odd-one/**"]

[cache.remote]
type = "s3"
bucket = "my-build-cache"
endpoint = "https://me:hunter2@s3.example.com"
"""


@pytest.fixture
def user(world: World) -> Path:
    """The user's own file, written."""
    path = world.home / ".config/kache/config.toml"
    path.parent.mkdir()
    path.write_text(USERS)
    return path


@pytest.fixture
def editor(tmux: Editor, kache_source: Kache) -> Editor:
    """The editor, once it shows itself."""

    def start(**options: object) -> Tmux:
        shown = tmux([kache_source.path, "config"], **options)
        shown.wait("q quit")
        return shown

    return start


def line(shown: List[str], setting: str) -> List[str]:
    """The cells of a setting's row."""
    (found,) = (each for each in shown[3:-7] if setting in each.lstrip("* ").split()[:1])
    return [cell.strip() for cell in found.lstrip("* ").split("  ") if cell.strip()]


def goto(shown: Tmux, words: str) -> None:
    """Select the first setting with these words in its name."""
    shown.keys("f")
    shown.type(words)
    shown.keys("Enter")
    shown.wait(f"only '{words}'")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
def test_all_settings_are_shown_with_value_origin_and_default(
    editor: Editor, user: Path, width: int, height: int
) -> None:
    shown = editor(width=width, height=height, environ={"KACHE_CACHE_DIR": None, "KACHE_COMPRESSION_LEVEL": "9"})
    lines = shown.wait(f"1-14 of {len(SETTINGS)}" if height == 24 else "cache.uploader")
    assert lines[0] == "kache config  ~/.config/kache/config.toml"
    assert lines[2].split()[:3] == ["setting", "value", "from"]
    wide = width > 100
    for setting, cells in (
        ("cache.local_store", ["~/.cache/kache", "default", "~/.cache/kache"]),
        ("cache.local_max_size", ["20GiB", "file", "50GiB"]),
        ("cache.compression_level", ["9", "env (locked)", "3"]),
        ("cache.exclude", ['["crates/odd-one/**"]', "file", "-"]),
    ):
        assert line(lines, setting)[1:] == cells[: 3 if wide else 2]
    shown.keys("j")
    shown.wait("The largest size of the local store")
    assert any("default: 50GiB" in each and "give a size such as 50GiB" in each for each in shown.text())
    shown.keys("Down", "Down", "Enter")
    assert "1 not saved" in shown.wait("* cache.cache_executables")[0]
    shown.picture(f"docs/pictures/config-{width}x{height}.svg", "kache config: the editor of settings")
    if wide:
        assert not any("hunter2" in each for each in shown.text())
        assert "https://***@s3.example.com" in "\n".join(shown.text())
    else:
        shown.keys("G")
        shown.wait(f"{len(SETTINGS) - 13}-{len(SETTINGS)} of {len(SETTINGS)}")
        assert line(shown.wait("KACHE_PROGRESS"), "KACHE_PROGRESS")


FILES = {
    "comments": (
        b'# mine\n[cache]\nlocal_max_size = "20GiB"   # big\n# end\n',
        b'# mine\n[cache]\nlocal_max_size = "1TiB"   # big\ncompression_level = 9\n# end\n',
    ),
    "inline tables": (
        b"cache = { local_max_size = '20GiB', nix_salt = true } # c\n[tool]\nx = 1\n",
        b'cache = { local_max_size = "1TiB", nix_salt = true, compression_level = 9} # c\n[tool]\nx = 1\n',
    ),
    "odd order": (
        b"[cache.remote]\ntype='s3'\n[x.cache]\nx = 1\n[cache]\nlocal_max_size='20GiB'\n[[a]]",
        b"[cache.remote]\ntype='s3'\n[x.cache]\nx = 1\n[cache]\nlocal_max_size=\"1TiB\"\ncompression_level = 9\n[[a]]",
    ),
    "CRLF": (
        b'# mine\r\n[cache]\r\nlocal_max_size = "20GiB"\r\n\r\n[tool]\r\n',
        b'# mine\r\n[cache]\r\nlocal_max_size = "1TiB"\r\ncompression_level = 9\r\n\r\n[tool]\r\n',
    ),
    "no last newline": (
        b'cache.local_max_size = "20GiB"',
        b'cache.local_max_size = "1TiB"\ncache.compression_level = 9\n',
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_value_is_edited_with_validation_in_place_and_the_rest_of_the_file_stays(
    editor: Editor, world: World, kind: str
) -> None:
    before, after = FILES[kind]
    file = world.root / ".kache.toml"
    file.write_bytes(before)
    shown = editor()
    goto(shown, "max_size")
    shown.keys("Enter")
    shown.wait("cache.local_max_size 20GiB")
    shown.keys("x", "Enter")
    shown.wait("give a size such as 50GiB, 10GB, 512MiB or 1024MB")
    shown.keys(*["BSpace"] * 6)
    shown.type("1TiB")
    shown.keys("Enter")
    shown.wait("1TiB")
    goto_again(shown, "compression")
    shown.keys("Enter")
    shown.wait("cache.compression_level 3")
    shown.keys("BSpace")
    shown.type("99")
    shown.keys("Enter")
    shown.wait("give a whole number from 1 to 22")
    shown.keys("BSpace", "Enter")
    shown.wait("2 not saved")
    assert file.read_bytes() == before, "nothing is written before it is saved"
    shown.keys("s")
    shown.wait("saved ")
    assert file.read_bytes() == after
    shown.keys("q")
    assert shown.ended() == 0 and shown.restored()


def goto_again(shown: Tmux, words: str) -> None:
    shown.keys("Escape")
    shown.gone("only '")
    goto(shown, words)


def test_lists_and_secrets_are_edited(editor: Editor, user: Path) -> None:
    shown = editor()
    goto(shown, "exclude")
    shown.keys("/")
    shown.wait("filter exclude")
    # what follows Escape at once is a part of it, to a terminal
    shown.keys("Escape")
    shown.gone("filter exclude")
    shown.keys("Enter")
    shown.wait('cache.exclude ["crates/odd-one/**"]')
    shown.keys(*["BSpace"] * 30)
    shown.type("a/** {b")
    shown.keys("Enter")
    shown.wait("a { without its }")
    shown.type(",c}")
    shown.keys("Enter")
    shown.wait('["a/**", "{b,c}"]')
    goto_again(shown, "signing_key")
    shown.keys("Enter")
    shown.wait("give a string; Enter takes it")
    shown.type("me:aHVudGVyMg==")
    shown.keys("Enter")
    lines = shown.wait("***")
    assert "aHVudGVyMg" not in "".join(lines)
    shown.keys("s")
    shown.wait("saved ")
    expected = USERS.replace('["crates/odd-one/**"]', '["a/**", "{b,c}"]') + 'signing_key = "me:aHVudGVyMg=="\n'
    assert user.read_text() == expected


def test_what_is_unset_or_taken_back_is_as_it_was(editor: Editor, user: Path) -> None:
    shown = editor()
    goto(shown, "local_max_size")
    shown.keys("u")
    assert line(shown.wait("unsaved"), "cache.local_max_size")[1] == "50GiB"
    shown.keys("r")
    shown.gone("unsaved")
    shown.keys("DC", "s")
    shown.wait("saved ")
    assert user.read_text() == USERS.replace('local_max_size = "20GiB"     # the disk is small\n', "")


def test_leaving_asks_for_what_is_not_saved(editor: Editor, user: Path) -> None:
    shown = editor()
    goto(shown, "nix_salt")
    shown.keys("Space", "q")
    shown.wait("1 change is not saved.")
    shown.keys("x", "Escape")
    shown.wait("unsaved")
    shown.keys("q")
    shown.wait("1 change is not saved.")
    shown.keys("d")
    assert shown.ended() == 0 and shown.restored()
    assert user.read_text() == USERS
    shown = editor()
    goto(shown, "nix_salt")
    shown.keys("Space", "q")
    shown.wait("1 change is not saved.")
    shown.keys("s")
    assert shown.ended() == 0 and shown.restored()
    assert 'exclude = ["crates/odd-one/**"]\nnix_salt = true\n' in user.read_text()


def test_what_the_environment_sets_is_read_only(editor: Editor, user: Path) -> None:
    shown = editor(environ={"KACHE_MAX_SIZE": "1GiB"})
    goto(shown, "max_size")
    shown.wait("read-only: KACHE_MAX_SIZE is set in the environment")
    for key in ("Enter", "Space", "u"):
        shown.keys("Down", key)
        shown.wait("KACHE_MAX_SIZE is set in the environment and wins over the file")
    goto_again(shown, "disabled")
    shown.keys("Enter")
    shown.wait("only the environment sets this: KACHE_DISABLED")
    assert "not saved" not in shown.text()[0]
    shown.keys("s")
    shown.wait("nothing was changed")
    assert user.read_text() == USERS


@pytest.mark.parametrize("which", ["u", "p"])
def test_where_there_is_no_file_saving_asks_which_to_make(editor: Editor, world: World, which: str) -> None:
    shown = editor()
    shown.wait("no configuration file yet")
    goto(shown, "nix_salt")
    shown.keys("Space", "s")
    shown.wait("Which is to be made?")
    shown.keys("Escape")
    shown.wait("unsaved")
    shown.keys("s")
    shown.wait("p   ")
    shown.keys(which)
    shown.wait("saved ")
    made = {"u": world.home / ".config/kache/config.toml", "p": world.root / ".kache.toml"}
    assert made.pop(which).read_text() == "[cache]\nnix_salt = true\n"
    assert not any(path.exists() for path in made.values())


def test_a_syntax_error_is_shown_with_line_and_column_and_nothing_is_changed(editor: Editor, user: Path) -> None:
    user.write_bytes(b"[cache]\r\nlocal_max_size 5\r\n")
    shown = editor()
    lines = shown.wait("is not TOML")
    told = "the file is not TOML: Expected '=' after a key in a key/value pair (at line 2, column 16)"
    assert " ".join(lines[1:4]).startswith(told)
    for key in ("Enter", "u"):
        shown.keys("Down", key)
        shown.wait("the file is to be mended first")
    shown.keys("s")
    shown.wait("nothing was changed")
    assert user.read_bytes() == b"[cache]\r\nlocal_max_size 5\r\n"
    shown.keys("q")
    assert shown.ended() == 0


@pytest.mark.parametrize("answer", ["y", "n"])
def test_what_another_program_wrote_is_not_overwritten_unasked(editor: Editor, user: Path, answer: str) -> None:
    shown = editor()
    goto(shown, "nix_salt")
    shown.keys("Space")
    shown.wait("unsaved")
    other = USERS.replace("20GiB", "30GiB")
    user.write_text(other)
    shown.keys("s")
    shown.wait("was changed by another program.")
    assert user.read_text() == other
    shown.keys(answer)
    if answer == "n":
        shown.wait("unsaved")
        assert user.read_text() == other
    else:
        shown.wait("saved ")
        assert user.read_text() == other.replace('**"]\n', '**"]\nnix_salt = true\n')


def test_help_tells_every_key(editor: Editor) -> None:
    shown = editor()
    shown.keys("?")
    lines = shown.wait("any key: back")
    assert "Secrets are never shown." in "\n".join(lines)
    for key in ("Enter, Space", "u, Delete", "r  ", "s  ", "f, /", "q  ", "?  "):
        assert any(each.strip().startswith(key.strip()) for each in lines), key
    shown.keys("q")
    shown.wait("q quit")
    shown.keys("/")
    shown.type("no such")
    shown.keys("Enter", "Enter", "u", "Down")
    shown.wait("no setting has 'no such' in its name; Escape shows all")
    shown.keys("Escape")
    shown.wait("cache.local_store")


def test_it_follows_the_size_and_needs_neither_colours_nor_utf8(editor: Editor, user: Path) -> None:
    shown = editor(environ={"LC_ALL": "C", "NO_COLOR": "1"})
    assert all(each.isascii() for each in shown.text())
    shown.resize(60, 20)
    shown.wait("the terminal is 60x20; kache needs 80x24")
    for width, height in ((81, 24), (200, 50), (100, 30), (150, 24)) * 5:
        shown.resize(width, height)
    lines = shown.wait(f"1-14 of {len(SETTINGS)}")
    shown.wait("default")
    assert sum("cache.local_store" in each for each in lines) == 2, "its row, and the selected one's text"
    assert len(lines) == 24


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_the_terminal_and_the_file_as_they_were(
    editor: Editor, user: Path, number: signal.Signals
) -> None:
    shown = editor()
    goto(shown, "nix_salt")
    shown.keys("Space")
    shown.wait("unsaved")
    os.kill(shown.pid, number)
    assert shown.ended() == 128 + number and shown.restored()
    assert user.read_text() == USERS


def test_show_prints_on_a_terminal_too(tmux: Editor, kache_file: Kache, user: Path) -> None:
    shown = tmux([kache_file.path, "config", "--show"], width=120, height=60)
    assert shown.ended() == 0
    assert not any("q quit" in each for each in shown.wait("KACHE_PROGRESS"))


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
def test_a_build_beside_it_goes_on_and_the_next_one_follows_what_was_saved(
    tmux: Editor, cargo: Cargo, workspace: Callable[..., Path], user: Path, size: Tuple[int, int]
) -> None:
    files = {
        "Cargo.toml": '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n',
        "src/main.rs": 'fn main() { println!("hello"); }\n',
    }
    ws = workspace(files)
    user.write_text('[cache]\nuploader = "off" # for now\n')
    shown = tmux([cargo.kache.path, "config"], cwd=ws, width=size[0], height=size[1])
    shown.wait("q quit")
    runs = []
    build = threading.Thread(target=lambda: runs.append(cargo("build", cwd=ws)))
    build.start()
    goto(shown, "executables")
    shown.keys("Enter")
    shown.wait("unsaved")
    build.join()
    assert runs[0].ok().results()["app"] == ["passthrough"]
    shown.keys("s")
    shown.wait("saved ~/.config/kache/config.toml")
    assert user.read_text() == '[cache]\nuploader = "off" # for now\ncache_executables = true\n'
    assert cargo("build", cwd=ws, env={"CARGO_TARGET_DIR": "other"}).ok().results()["app"] == ["miss"]
    shown.keys("q")
    assert shown.ended() == 0 and shown.restored()
