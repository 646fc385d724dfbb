"""config_target: a configuration file is whole at any moment and stays what it was; nobody's work is lost."""

import fcntl
import os
import stat
import threading
import time
from pathlib import Path
from typing import List

import pytest

from kachelib import config_target
from kachelib.outcome import ConfigError, KacheError


def test_the_file_in_force_is_the_one_that_settings_are_read_from(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    deep = tmp_path / "project" / "a" / "b"
    deep.mkdir(parents=True)
    user = tmp_path / ".config/kache/config.toml"
    assert config_target.in_force(environ, str(deep)) == ""
    assert config_target.user(environ) == str(user)
    assert config_target.project(str(deep)) == str(deep / ".kache.toml")
    user.parent.mkdir(parents=True)
    user.touch()
    assert config_target.in_force(environ, str(deep)) == str(user)
    (tmp_path / "project/.kache.toml").touch()
    for found in (config_target.in_force(environ, str(deep)), config_target.project(str(deep))):
        assert found == str(tmp_path / "project/.kache.toml")
    named = {**environ, "KACHE_CONFIG": "x.toml"}
    assert config_target.in_force(named, str(deep)) == str(deep / "x.toml")
    assert config_target.project(str(deep)) == str(tmp_path / "project/.kache.toml")
    with pytest.raises(ConfigError, match="HOME is not set"):
        config_target.user({})


def test_a_link_stays_a_link_and_its_target_keeps_its_mode(tmp_path: Path) -> None:
    """Dotfiles managers keep the files elsewhere, and link them."""
    (tmp_path / "dotfiles").mkdir()
    real, link, second = tmp_path / "dotfiles/kache.toml", tmp_path / "config.toml", tmp_path / "second"
    real.write_bytes(b"# old\n")
    real.chmod(0o640)
    link.symlink_to("dotfiles/kache.toml")
    second.symlink_to("config.toml")
    config_target.write(config_target.read(str(second)), "# new\n")
    assert link.is_symlink() and second.is_symlink() and not real.is_symlink()
    assert real.read_bytes() == b"# new\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path / "dotfiles")) == ["kache.toml"], "nothing is left over"


def test_a_link_to_a_file_that_is_not_there_yet_is_followed(tmp_path: Path) -> None:
    link = tmp_path / "config.toml"
    link.symlink_to("dotfiles/deep/kache.toml")
    target = config_target.read(str(link))
    assert target.data is None and target.text == ""
    config_target.write(target, "# new\n")
    assert link.is_symlink()
    assert (tmp_path / "dotfiles/deep/kache.toml").read_bytes() == b"# new\n"


def test_a_new_file_has_its_directories_and_an_ordinary_mode(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        for private, mode in ((False, 0o640), (True, 0o600)):
            path = tmp_path / str(private) / "kache" / "config.toml"
            config_target.write(config_target.read(str(path)), "x = 1\n", private)
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert sorted(os.listdir(path.parent)) == ["config.toml"]
    finally:
        os.umask(before)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_bytes_are_those_of_the_text(mark: bytes, tmp_path: Path) -> None:
    """Carriage returns, a missing last newline and a byte order mark included."""
    path = tmp_path / "x.toml"
    path.write_bytes(mark + b"a = 1\r\nb = '\xc3\xa9'")
    target = config_target.read(str(path))
    assert target.text == "a = 1\r\nb = 'é'"
    config_target.write(target, target.text + "\r\nc = 1")
    assert path.read_bytes() == mark + b"a = 1\r\nb = '\xc3\xa9'\r\nc = 1"


@pytest.mark.parametrize("how", ["written", "replaced", "removed", "made"])
def test_what_somebody_else_wrote_meanwhile_stays(how: str, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    if how != "made":
        path.write_bytes(b"a = 1\n")
    target = config_target.read(str(path))
    other = tmp_path / "other"
    other.write_bytes(b"a = 2\n")
    if how in ("written", "made"):
        path.write_bytes(b"a = 2\n")
    elif how == "replaced":
        other.replace(path)
    else:
        path.unlink()
    with pytest.raises(config_target.Changed, match=r"x\.toml was changed by another program meanwhile"):
        config_target.write(target, "a = 3\n")
    assert path.read_bytes() == b"a = 2\n" if how != "removed" else not path.exists()
    assert not [name for name in os.listdir(tmp_path) if name.startswith("x.toml.")]


def test_another_kache_that_writes_is_waited_for(tmp_path: Path) -> None:
    path, other = tmp_path / "x.toml", tmp_path / "other"
    path.write_bytes(b"a = 1\n")
    other.write_bytes(b"a = 2\n")
    target = config_target.read(str(path))
    ended: List[str] = []

    def write() -> None:
        try:
            config_target.write(target, "a = 3\n")
        except config_target.Changed:
            ended.append("changed")

    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        writer = threading.Thread(target=write)
        writer.start()
        time.sleep(0.3)
        assert path.read_bytes() == b"a = 1\n"
        other.replace(path)
    writer.join()
    assert ended == ["changed"] and path.read_bytes() == b"a = 2\n"


def test_a_lock_that_another_program_keeps_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_target, "_TURNS", 3)
    path = tmp_path / "x.toml"
    path.write_bytes(b"a = 1\n")
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        config_target.write(config_target.read(str(path)), "a = 2\n")
    assert path.read_bytes() == b"a = 2\n"


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    """A device can be read as an empty configuration; root must not lose his /dev/null."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    for path in ("/dev/null", str(tmp_path), str(tmp_path / "fifo"), str(tmp_path / "loop")):
        with pytest.raises(ConfigError, match=r"not a regular file|symbolic links"):
            config_target.read(path)


def test_what_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "config.toml"
    with pytest.raises(
        KacheError, match=r"config\.toml cannot be written: File exists \(/.*/file\); nothing was changed"
    ):
        config_target.write(config_target.read(str(path)), "x = 1\n")


def test_a_file_that_is_not_utf8_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"a = 1\nb = '\xff'\n")
    with pytest.raises(ConfigError, match=r"x\.toml is not UTF-8 \(at line 2\)"):
        _ = config_target.read(str(path)).text
