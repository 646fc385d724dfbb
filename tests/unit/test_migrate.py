"""Migration names kache where sccache was named, and only there, with a way back."""

from pathlib import Path

import pytest

from kachelib import migrate
from kachelib.outcome import KacheError
from tests.world import World

KACHE = "/opt/kache"


@pytest.mark.parametrize(
    ("line", "fixed"),
    [
        ("export RUSTC_WRAPPER=sccache", "export RUSTC_WRAPPER=/opt/kache"),
        ("RUSTC_WRAPPER=sccache", "RUSTC_WRAPPER=/opt/kache"),
        ('  export RUSTC_WRAPPER="sccache"  # fast', "  export RUSTC_WRAPPER=/opt/kache  # fast"),
        ("export RUSTC_WRAPPER='/usr/bin/sccache';", "export RUSTC_WRAPPER=/opt/kache;"),
        ('export RUSTC_WRAPPER="$(which sccache)"', "export RUSTC_WRAPPER=/opt/kache"),
        ("export RUSTC_WRAPPER=$(command -v sccache)", "export RUSTC_WRAPPER=/opt/kache"),
        ("export RUSTC_WRAPPER=`which sccache`", "export RUSTC_WRAPPER=/opt/kache"),
        ("export CARGO_BUILD_RUSTC_WRAPPER=sccache", "export CARGO_BUILD_RUSTC_WRAPPER=/opt/kache"),
        ("set -gx RUSTC_WRAPPER sccache", "set -gx RUSTC_WRAPPER /opt/kache"),
        ("set -x RUSTC_WRAPPER (which sccache)", "set -x RUSTC_WRAPPER /opt/kache"),
    ],
)
def test_an_assignment_names_kache_afterwards(world: World, line: str, fixed: str) -> None:
    file = world.home / ".bashrc"
    file.write_bytes(f"alias ls='ls -l'\n{line}\r\nexport A=1\n".encode())
    found = migrate.leftovers(str(world.home / ".cargo/config.toml"), str(world.home))
    assert [(item.line, item.fixable) for item in found] == [(2, True)]
    migrate.fix(found, KACHE)
    assert file.read_bytes() == f"alias ls='ls -l'\n{fixed}\r\nexport A=1\n".encode()


@pytest.mark.parametrize(
    "line",
    [
        "# export RUSTC_WRAPPER=sccache",
        "export RUSTC_WRAPPER=ccache-rs",
        "export SCCACHE_DIR=/x",
        "echo sccache",
        "export RUSTC_WRAPPER=/opt/kache",
    ],
)
def test_other_lines_are_no_leftovers(world: World, line: str) -> None:
    (world.home / ".bashrc").write_text(line + "\n")
    assert migrate.leftovers(str(world.home / ".cargo/config.toml"), str(world.home)) == []


@pytest.mark.parametrize(
    "line",
    [
        'export RUSTC_WRAPPER=sccache SCCACHE_DIR="/x"',
        "[ -x /usr/bin/sccache ] && export RUSTC_WRAPPER=sccache",
        "export RUSTC_WRAPPER=sccache && rm -rf /",
    ],
)
def test_lines_that_do_more_are_told_and_left_to_people(world: World, line: str) -> None:
    file = world.home / ".zshrc"
    file.write_text(line + "\n")
    found = migrate.leftovers(str(world.home / ".cargo/config.toml"), str(world.home))
    assert [item.fixable for item in found] == [False]
    assert migrate.fix(found, KACHE) == []
    assert file.read_text() == line + "\n"


def test_cargo_and_shells_are_changed_with_a_backup_each(world: World) -> None:
    cargo = world.home / ".cargo/config.toml"
    cargo.write_text('[build]\nrustc-wrapper = "/usr/bin/sccache" # x\n')
    fish = world.home / ".config/fish/config.fish"
    fish.parent.mkdir(parents=True)
    fish.write_text("set -gx RUSTC_WRAPPER sccache\n")
    (world.home / ".config/fish/config.fish.before-kache").write_text("an older backup")
    found = migrate.leftovers(str(cargo), str(world.home))
    done = migrate.fix(found, KACHE)
    assert len(done) == 2
    assert KACHE in cargo.read_text()
    assert (
        world.home / ".cargo/config.toml.before-kache"
    ).read_text() == '[build]\nrustc-wrapper = "/usr/bin/sccache" # x\n'
    assert fish.read_text() == "set -gx RUSTC_WRAPPER /opt/kache\n"
    assert fish.with_name("config.fish.before-kache").read_text() == "an older backup"
    assert fish.with_name("config.fish.before-kache-2").read_text() == "set -gx RUSTC_WRAPPER sccache\n"
    assert migrate.leftovers(str(cargo), str(world.home)) == []


def test_a_path_with_blanks_is_quoted_for_the_shell(world: World) -> None:
    file = world.home / ".bashrc"
    file.write_text("export RUSTC_WRAPPER=sccache\n")
    migrate.fix(migrate.leftovers("", str(world.home)), "/my tools/kache")
    assert file.read_text() == "export RUSTC_WRAPPER='/my tools/kache'\n"


def test_start_files_that_are_not_utf8_keep_their_bytes(world: World) -> None:
    file = world.home / ".bashrc"
    file.write_bytes(b"# caf\xe9\nexport RUSTC_WRAPPER=sccache\n# \xff\n")
    migrate.fix(migrate.leftovers("", str(world.home)), KACHE)
    assert file.read_bytes() == b"# caf\xe9\nexport RUSTC_WRAPPER=/opt/kache\n# \xff\n"


def test_the_cache_directory_is_where_sccache_has_it() -> None:
    assert migrate.cache_directory({"SCCACHE_DIR": "/x"}, "/home/me", "linux") == "/x"
    assert migrate.cache_directory({}, "/home/me", "linux") == "/home/me/.cache/sccache"
    assert migrate.cache_directory({"XDG_CACHE_HOME": "/c"}, "/home/me", "linux") == "/c/sccache"
    assert migrate.cache_directory({}, "/home/me", "darwin") == "/home/me/Library/Caches/Mozilla.sccache"
    assert migrate.cache_directory({}, "", "linux") == ""


def sccache_directory(path: Path) -> Path:
    (path / "a" / "b" / "c").mkdir(parents=True)
    (path / "a/b/c/abc123").write_bytes(b"x" * 9000)
    (path / "preprocessor").mkdir()
    return path


def test_purge_deletes_sccaches_cache(world: World) -> None:
    directory = sccache_directory(world.root / "sccache")
    assert migrate.purge(str(directory), {}) >= 9000
    assert not directory.exists()
    assert migrate.purge(str(directory), {}) == 0


def test_purge_deletes_nothing_that_is_not_sccaches(world: World) -> None:
    directory = sccache_directory(world.root / "sccache")
    (directory / "thesis.tex").write_text("precious")
    with pytest.raises(KacheError, match=r"thesis\.tex"):
        migrate.purge(str(directory), {})
    link = world.root / "link"
    link.symlink_to(sccache_directory(world.root / "real"))
    with pytest.raises(KacheError, match="symbolic link"):
        migrate.purge(str(link), {})
    assert (directory / "a/b/c/abc123").exists() and (world.root / "real/a/b/c/abc123").exists()
