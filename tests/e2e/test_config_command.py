"""``kache config get``, ``set``, ``unset``, ``path`` as scripts call them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

from tests.world import REPOSITORY, Kache, World

SECRET = "builder:aHVudGVyMg=="


def user_file(world: World) -> Path:
    return world.home / ".config/kache/config.toml"


def test_get_prints_what_is_in_force(kache: Kache, world: World) -> None:
    (world.root / ".kache.toml").write_text(
        '[cache]\nlocal_max_size = "20GiB"\nexclude = ["a b/**", "[c]"]\ndaemon_idle_timeout_secs = "10m"\n'
    )
    for name, printed in (
        ("cache.local_max_size", "20GiB\n"),
        ("KACHE_MAX_SIZE", "20GiB\n"),
        ("local_max_size", "20GiB\n"),
        ("cache.exclude", "a b/**\n[c]\n"),
        ("cache.daemon_idle_timeout_secs", "600\n"),
        ("cache.compression_level", "3\n"),
        ("cache.cache_executables", "false\n"),
        ("KACHE_DISABLED", "false\n"),
        ("cache.local_store", f"{world.cache_dir}\n"),
    ):
        run = kache.run("config", "get", name).ok()
        assert (run.stdout, run.stderr) == (printed, "")
    assert kache.run("config", "get", "--origin", "cache.exclude").ok().stdout == f"file {world.root / '.kache.toml'}\n"
    assert kache.run("config", "get", "--origin", "cache.local_store").ok().stdout == "env KACHE_CACHE_DIR\n"
    document = json.loads(kache.run("config", "get", "--json", "cache.local_max_size").ok().stdout)
    assert document["schema_version"] == 1 and document["value"] == 20 << 30
    assert document["name"] == "local_max_size" and document["key"] == "cache.local_max_size"


def test_what_has_no_value_prints_nothing_and_ends_with_1(kache: Kache) -> None:
    for key in ("cache.key_salt", "cache.exclude", "KACHE_S3_SECRET_KEY"):
        run = kache.run("config", "get", key)
        assert (run.returncode, run.stdout, run.stderr) == (1, "", "")


@pytest.mark.parametrize("words", [["get"], ["set"], ["unset"]])
def test_an_unknown_key_ends_with_2_and_a_hint(kache_source: Kache, world: World, words: List[str]) -> None:
    run = kache_source.run("config", *words, "cache.local_max_sise", *(["1GiB"] if words == ["set"] else []))
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == (
        "kache: config: there is no setting 'cache.local_max_sise'; did you mean cache.local_max_size? "
        "'kache config --show' lists all\n"
    )
    assert not user_file(world).exists()


def test_set_makes_the_users_file_and_unset_takes_out_again(kache: Kache, world: World) -> None:
    file = user_file(world)
    run = kache.run("config", "set", "KACHE_MAX_SIZE", "20GiB").ok()
    assert (run.stdout, run.stderr) == (f'{file}: cache.local_max_size = "20GiB"\n', "")
    assert file.read_bytes() == b'[cache]\nlocal_max_size = "20GiB"\n'
    kache.run("config", "set", "cache.exclude", "a b/**", "-c").ok()
    kache.run("config", "set", "cc.extra_allowlist_flags", "-fno-rtti").ok()
    kache.run("config", "set", "cc.extra_allowlist_flags", "--", "--help").ok()
    assert kache.run("config", "get", "cache.exclude").ok().stdout == "a b/**\n-c\n"
    assert kache.run("config", "get", "cc.extra_allowlist_flags").ok().stdout == "--help\n"
    kache.run("config", "set", "cache.exclude", '["x"]').ok()
    assert 'exclude = ["x"]' in file.read_text()
    run = kache.run("config", "unset", "cache.exclude").ok()
    assert run.stdout == f"{file}: cache.exclude unset\n"
    assert kache.run("config", "get", "cache.exclude").returncode == 1
    run = kache.run("config", "unset", "cache.exclude")
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == f"kache: cache.exclude is not set in {file}\n"


def test_what_is_said_already_leaves_the_file_as_it_is(kache_source: Kache, world: World) -> None:
    user_file(world).parent.mkdir()
    user_file(world).write_text("[cache]\nnix_salt=true")
    before = user_file(world).stat()
    kache_source.run("config", "set", "cache.nix_salt", "yes").ok()
    after = user_file(world).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_wrong_value_is_not_written(kache: Kache, world: World) -> None:
    run = kache.run("config", "set", "cache.compression_level", "99")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == ("kache: config set: cache.compression_level '99': give a whole number from 1 to 22\n")
    assert kache.run("config", "set", "cache.compression_level").returncode == 2
    run = kache.run("config", "set", "KACHE_LOG", "kache=debug")
    assert run.returncode == 2 and "KACHE_LOG is not a setting of the file: set the environment variable" in run.stderr
    assert not user_file(world).exists()


def test_a_file_that_is_not_toml_is_shown_with_line_and_column_and_untouched(kache: Kache, world: World) -> None:
    file = world.root / ".kache.toml"
    text = b"# mine\r\n[cache]\r\nlocal_max_size 5\r\n"
    file.write_bytes(text)
    for words in (["set", "cache.nix_salt", "true"], ["unset", "cache.nix_salt"], ["get", "cache.nix_salt"]):
        run = kache.run("config", *words)
        assert run.returncode == 2
        assert run.stderr.startswith(f"kache: {file} is not TOML: ") and run.stderr.endswith("(at line 3, column 16)\n")
    assert file.read_bytes() == text
    assert kache.run("config", "path").ok().stdout == f"{file}\n"


def test_the_file_is_chosen_as_it_is_read(kache_source: Kache, world: World) -> None:
    """And where what is written does not count here, that is said."""
    kache, user = kache_source, user_file(world)
    project = world.root / "ws" / ".kache.toml"
    inner = world.root / "ws" / "a"
    inner.mkdir(parents=True)
    run = kache.run("config", "path", cwd=inner)
    assert (run.returncode, run.stdout) == (1, f"{user}\n")
    run = kache.run("config", "path", "--project", cwd=inner)
    assert (run.returncode, run.stdout) == (1, f"{inner}/.kache.toml\n")
    kache.run("config", "set", "cache.nix_salt", "true", cwd=inner).ok()
    run = kache.run("config", "set", "--project", "cache.key_salt", "x", cwd=world.root / "ws").ok()
    assert run.stdout == f'{project}: cache.key_salt = "x"\n'
    assert run.stderr == f"kache: {project} is read here from now on, {user} no more: files are never merged\n"
    assert kache.run("config", "path", cwd=inner).ok().stdout == f"{project}\n"
    run = kache.run("config", "set", "--user", "cache.key_salt", "y", cwd=inner).ok()
    assert run.stderr == f"kache: {user} is not read here: {project} is, and files are never merged\n"
    assert kache.run("config", "get", "cache.key_salt", cwd=inner).ok().stdout == "x\n"
    assert 'key_salt = "y"' in user.read_text()
    env = {"KACHE_CONFIG": "named/x.toml"}
    run = kache.run("config", "set", "cache.key_salt", "z", cwd=inner, env=env).ok()
    assert run.stderr == "" and (inner / "named/x.toml").exists()
    assert kache.run("config", "get", "cache.key_salt", cwd=inner, env=env).ok().stdout == "z\n"
    run = kache.run("config", "set", "cache.key_salt", "z", cwd=world.root, env={"HOME": None, "XDG_CONFIG_HOME": None})
    assert run.returncode == 2 and "HOME is not set" in run.stderr


def test_a_variable_that_wins_is_named(kache_source: Kache, world: World) -> None:
    env = {"KACHE_MAX_SIZE": "1GiB"}
    run = kache_source.run("config", "set", "cache.local_max_size", "20GiB", env=env).ok()
    assert run.stderr == "kache: KACHE_MAX_SIZE is set in the environment and wins over the file\n"
    assert kache_source.run("config", "get", "cache.local_max_size", env=env).ok().stdout == "1GiB\n"
    assert kache_source.run("config", "get", "cache.local_max_size").ok().stdout == "20GiB\n"


def test_what_else_is_wrong_with_the_file_is_said_and_can_be_mended(kache_source: Kache, world: World) -> None:
    file = world.root / ".kache.toml"
    file.write_text("[cache]\ncompression_level = 99\nnix_salt = 'x'\n")
    run = kache_source.run("config", "set", "cache.compression_level", "9").ok()
    assert run.stderr.startswith(f"kache: something else is wrong: {file}: cache.nix_salt ")
    assert kache_source.run("config", "set", "cache.nix_salt", "false").ok().stderr == ""
    assert file.read_text() == "[cache]\ncompression_level = 9\nnix_salt = false\n"


def test_secrets_are_never_printed(kache: Kache, world: World) -> None:
    runs = [kache.run("config", "set", "cache.remote.signing_key", SECRET)]
    assert SECRET in user_file(world).read_text()
    assert user_file(world).stat().st_mode & 0o077 == 0, "a file that is made for a secret is the user's alone"
    runs.append(kache.run("config", "get", "cache.remote.signing_key"))
    assert runs[-1].returncode == 1 and runs[-1].stdout == ""
    runs.append(kache.run("config", "get", "--json", "cache.remote.signing_key"))
    runs.append(kache.run("config", "set", "cache.remote.signing_key", "hunter2", "hunter2"))
    runs.append(kache.run("config"))
    runs.append(kache.run("config", "set", "cache.remote.endpoint", "https://me:hunter2@s3.example.com"))
    runs.append(kache.run("config", "get", "cache.remote.endpoint"))
    assert runs[-1].stdout == "https://***@s3.example.com\n"
    runs.append(kache.run("config", "get", "KACHE_S3_SECRET_KEY", env={"KACHE_S3_SECRET_KEY": "hunter2"}))
    assert runs[-1].returncode == 1 and "env KACHE_S3_SECRET_KEY" in runs[-1].stderr
    for run in runs:
        assert "hunter2" not in run.stdout + run.stderr and SECRET not in run.stdout + run.stderr, run


def test_several_that_write_at_once_lose_nothing(kache_source: Kache, world: World) -> None:
    settings = [("cache.key_salt", "x"), ("cache.nix_salt", "true"), ("cc.identity", "content"), ("cache.exclude", "a"),
                ("cache.remote.bucket", "b"), ("cache.remote.region", "r"), ("paths.base_dirs", "/x"),
                ("cache.uploader", "off")]  # fmt: skip
    started = [
        subprocess.Popen(
            [str(kache_source.path), "config", "set", key, value], env=world.env, cwd=world.root, stdout=subprocess.PIPE
        )
        for key, value in settings
    ]
    for process in started:
        process.communicate(timeout=60)
        assert process.returncode == 0
    for key, value in settings:
        assert kache_source.run("config", "get", key).ok().stdout == value + "\n"


def test_without_a_terminal_the_table_is_printed(kache: Kache, world: World) -> None:
    shown = kache.run("config").ok().stdout
    assert shown == kache.run("config", "--show").ok().stdout
    assert shown.startswith("configuration file: none\n") and str(world.cache_dir) in shown
    (world.root / ".kache.toml").write_text("[cache]\nnope = 1\n")
    run = kache.run("config", "--show", "--json")
    assert run.returncode == 2 and json.loads(run.stdout)["problems"]
    for words in (["--help"], ["get", "--help"], ["set", "--help"], ["unset", "--help"], ["path", "--help"]):
        assert "usage: kache config" in kache.run("config", *words).ok().stdout


def test_only_a_change_loads_the_library(world: World) -> None:
    """For it costs more than all the rest of the command."""
    program = (
        "import sys; from kachelib import cli; code = cli.main(sys.argv[1:]); print('tomlkit' in sys.modules); "
        "sys.exit(code)"
    )

    def loaded(*words: str) -> bool:
        run = world.run([sys.executable, "-c", program, *words], env={"PYTHONPATH": str(REPOSITORY)}).ok()
        return run.stdout.splitlines()[-1] == "True"

    assert not loaded("config", "get", "cache.nix_salt")
    assert not loaded("config", "--show")
    assert loaded("config", "set", "cache.nix_salt", "true")
    assert not loaded("config", "set", "cache.nix_salt", "true")
