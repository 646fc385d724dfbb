"""config: environment over the one selected file over the default, and no TOML on a hit."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence

import pytest

from kachelib import config, config_file, memo, settings
from kachelib.outcome import ConfigError
from kachelib.settings import COUNT, FLAG, GLOBS, LISTS, NAMES, PATH, SECONDS, SETTINGS, SIZE, WORDS, Setting
from tests.world import REPOSITORY

GIB = 1 << 30

# The contract: variable, key of the file, default (spec: "All settings"), then ours.
CONTRACT = [
    ("KACHE_CACHE_DIR", "cache.local_store", "HOME/.cache/kache"),
    ("KACHE_MAX_SIZE", "cache.local_max_size", 50 * GIB),
    ("KACHE_S3_BUCKET", "cache.remote.bucket", ""),
    ("KACHE_S3_ENDPOINT", "cache.remote.endpoint", ""),
    ("KACHE_S3_REGION", "cache.remote.region", "us-east-1"),
    ("KACHE_S3_PREFIX", "cache.remote.prefix", "artifacts"),
    ("KACHE_S3_PROFILE", "cache.remote.profile", ""),
    ("KACHE_S3_ACCESS_KEY", "", ""),
    ("KACHE_S3_SECRET_KEY", "", ""),
    ("KACHE_CACHE_EXECUTABLES", "cache.cache_executables", False),
    ("KACHE_CLEAN_INCREMENTAL", "cache.clean_incremental", True),
    ("", "cache.exclude", ()),
    ("KACHE_COMPRESSION_LEVEL", "cache.compression_level", 3),
    ("KACHE_S3_CONCURRENCY", "cache.s3_concurrency", 16),
    ("KACHE_S3_POOL_IDLE_SECS", "cache.s3_pool_idle_secs", 300),
    ("KACHE_DAEMON_IDLE_TIMEOUT", "cache.daemon_idle_timeout_secs", 600),
    ("KACHE_KEY_SALT", "cache.key_salt", ""),
    ("KACHE_CC_EXTRA_ALLOWLIST_FLAGS", "cc.extra_allowlist_flags", ()),
    ("KACHE_DISABLED", "", False),
    ("KACHE_LOG", "", "kache=warn"),
    ("KACHE_LOG_FILE", "", "kache=info"),
    ("KACHE_PROGRESS", "", "auto"),
    ("", "cache.remote.type", "s3"),
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home of the test's own, apart from the sealed one, with no configuration."""
    path = tmp_path / "user"
    path.mkdir()
    return path


@pytest.fixture
def load(home: Path, tmp_path: Path) -> Callable[..., config.Settings]:
    """``load(KACHE_X="…", search=[…])``: settings of an environment that holds HOME and no more."""

    def call(search: Sequence[Path] = (), **environ: Optional[str]) -> config.Settings:
        full: Dict[str, Optional[str]] = {"HOME": str(home), **environ}
        given = {name: value for name, value in full.items() if value is not None}
        return config.load(given, [str(path) for path in search or (tmp_path / "nowhere",)])

    return call


@pytest.fixture
def user_file(home: Path) -> Callable[[str], Path]:
    """Write the user's own configuration."""

    def write(text: str) -> Path:
        path = home / ".config/kache/config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def settle() -> None:
    """Let so much time pass that a file's times can be trusted."""
    time.sleep(0.08)


def project(directory: Path, text: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / ".kache.toml"
    path.write_text(text)
    return path


def row(name: str) -> Setting:
    return next(one for one in SETTINGS if one.name == name)


# One value of each kind, as the environment, the file and Python write it.
SAMPLES = {
    FLAG: ("yes", "true", True),
    COUNT: ("7", "7", 7),
    SIZE: ("3GiB", '"3 GiB"', 3 * GIB),
    SECONDS: ("10m", "600", 600),
    WORDS: ("-a  -b", '["-a", "-b"]', ("-a", "-b")),
    NAMES: ("A,B C", '["A", "B", "C"]', ("A", "B", "C")),
    GLOBS: ("", '["a/**"]', ("a/**",)),
    settings.DIRECTORIES: ("/a:/b c/", '["/a", "/b c/"]', ("/a", "/b c")),
    PATH: ("/some/place", '"/some/place"', "/some/place"),
    settings.TEXT: ("some text", '"some text"', "some text"),
    settings.CHOICE: ("", "", ""),
}


def toml(key: str, value: str) -> str:
    table, _, name = key.rpartition(".")
    return f"[{table}]\n{name} = {value}\n"


@pytest.mark.parametrize(("env", "key", "default"), CONTRACT)
def test_contract_names_and_defaults(
    env: str, key: str, default: object, load: Callable[..., config.Settings], home: Path
) -> None:
    (found,) = [one for one in SETTINGS if (one.env, one.key) == (env, key)]
    value = getattr(load(), found.name)
    assert value == (str(home) + default[4:] if isinstance(default, str) and default.startswith("HOME") else default)
    assert config.origin(load(), found.name) == "default"


def test_all_but_the_contract_is_marked_as_ours() -> None:
    assert {one.name for one in SETTINGS if not one.ours} == {
        one.name for one in SETTINGS if (one.env, one.key) in {(env, key) for env, key, _ in CONTRACT}
    }


def test_every_setting_is_an_annotated_attribute_and_documented() -> None:
    assert {one.name for one in SETTINGS} <= set(config.Settings.__annotations__)
    text = (REPOSITORY / "docs/configuration.md").read_text()
    for one in SETTINGS:
        assert not one.env or f"`{one.env}`" in text
        assert not one.key or f"`{one.key}`" in text


@pytest.mark.parametrize("one", [one for one in SETTINGS if one.kind != settings.CHOICE], ids=lambda one: str(one.name))
def test_environment_over_file_over_default(
    one: Setting, load: Callable[..., config.Settings], user_file: Callable[[str], Path]
) -> None:
    in_env, in_file, value = SAMPLES[one.kind]
    if one.env:
        settings_ = load(**{one.env: in_env})
        assert (getattr(settings_, one.name), config.origin(settings_, one.name)) == (value, "env " + one.env)
    if one.key:
        path = user_file(toml(one.key, in_file))
        settings_ = load()
        assert settings_.problems == ()
        assert (getattr(settings_, one.name), config.origin(settings_, one.name)) == (value, f"file {path}")
    if one.env and one.key:
        others = {FLAG: "off", COUNT: "9", SIZE: "1B", SECONDS: "9", PATH: "/other", settings.DIRECTORIES: "/other"}
        other = others.get(one.kind, "other")
        settings_ = load(**{one.env: other})
        assert getattr(settings_, one.name) != value
        assert config.origin(settings_, one.name) == "env " + one.env


def test_an_empty_variable_is_no_variable(load: Callable[..., config.Settings]) -> None:
    plain = load()
    empty = load(**{one.env: "" for one in SETTINGS if one.env}, KACHE_CONFIG="", XDG_CONFIG_HOME="")
    for name in config.Settings.__slots__:
        assert getattr(empty, name) == getattr(plain, name)


def test_the_nearest_project_file_wins_over_the_users(
    load: Callable[..., config.Settings], user_file: Callable[[str], Path], tmp_path: Path
) -> None:
    users = user_file('[cache]\nkey_salt = "user"\ncompression_level = 9\n')
    assert load(search=[tmp_path / "ws/a"]).file == str(users)
    outer = project(tmp_path / "ws", '[cache]\nkey_salt = "outer"\n')
    (tmp_path / "ws/a/b").mkdir(parents=True)
    settings_ = load(search=[tmp_path / "ws/a/b"])
    assert (settings_.file, settings_.key_salt) == (str(outer), "outer")
    assert settings_.compression_level == 3, "files are never merged"
    inner = project(tmp_path / "ws/a", '[cache]\nkey_salt = "inner"\n')
    assert load(search=[tmp_path / "ws/a/b"]).file == str(inner)


def test_the_project_of_cargo_holds_for_registry_crates(load: Callable[..., config.Settings], tmp_path: Path) -> None:
    # The compiler runs in the registry's directory; Cargo's own comes first.
    cargo = project(tmp_path / "ws", "")
    registry = project(tmp_path / "registry/src", "")
    assert load(search=[tmp_path / "ws", tmp_path / "registry/src/serde"]).file == str(cargo)
    assert load(search=[tmp_path / "none", tmp_path / "registry/src/serde"]).file == str(registry)


def test_a_search_directory_may_name_its_parent(load: Callable[..., config.Settings], tmp_path: Path) -> None:
    project(tmp_path / "ws/target", "")
    outside = project(tmp_path / "ws2", "")
    assert load(search=[tmp_path / "ws/target/../../ws2/deps"]).file == str(outside)


def test_kache_config_is_selected_before_all(
    load: Callable[..., config.Settings], user_file: Callable[[str], Path], tmp_path: Path
) -> None:
    user_file('[cache]\nkey_salt = "user"\n')
    project(tmp_path / "ws", '[cache]\nkey_salt = "project"\n')
    (tmp_path / "ws/own.toml").write_text('[cache]\nkey_salt = "own"\n')
    for given in (str(tmp_path / "ws/own.toml"), "own.toml", "./own.toml"):
        settings_ = load(search=[tmp_path / "ws"], KACHE_CONFIG=given)
        assert (settings_.key_salt, settings_.file) == ("own", str(tmp_path / "ws/own.toml"))


def test_kache_config_that_does_not_exist_is_a_warning_and_selects_nothing_else(
    load: Callable[..., config.Settings], user_file: Callable[[str], Path], tmp_path: Path
) -> None:
    user_file('[cache]\nkey_salt = "user"\n')
    settings_ = load(KACHE_CONFIG=str(tmp_path / "none.toml"))
    assert (settings_.key_salt, settings_.problems, settings_.broken) == ("", (), False)
    assert [str(tmp_path / "none.toml") in text for text in settings_.warnings] == [True]


def test_kache_config_may_be_dev_null(load: Callable[..., config.Settings], user_file: Callable[[str], Path]) -> None:
    user_file('[cache]\nkey_salt = "user"\n')
    settings_ = load(KACHE_CONFIG="/dev/null")
    assert (settings_.key_salt, settings_.problems, settings_.warnings) == ("", (), ())


def test_xdg_config_home(load: Callable[..., config.Settings], home: Path, tmp_path: Path) -> None:
    path = tmp_path / "xdg/kache/config.toml"
    path.parent.mkdir(parents=True)
    path.write_text("")
    assert load(XDG_CONFIG_HOME=str(tmp_path / "xdg")).file == str(path)
    assert load(XDG_CONFIG_HOME=str(tmp_path / "xdg"), HOME=None).file == str(path)
    assert load(XDG_CONFIG_HOME="xdg").file == "", "the XDG specification: a relative path is ignored"


@pytest.mark.parametrize(("text", "value"), [("1", True), ("TRUE", True), ("yes", True), ("on", True)])
def test_switches_that_are_on(text: str, value: bool, load: Callable[..., config.Settings]) -> None:
    assert load(KACHE_DISABLED=text).disabled is value


@pytest.mark.parametrize("text", ["0", "false", "No", "off"])
def test_switches_that_are_off(text: str, load: Callable[..., config.Settings]) -> None:
    assert load(KACHE_CLEAN_INCREMENTAL=text).clean_incremental is False


@pytest.mark.parametrize(
    ("env", "text"),
    [
        ("KACHE_MAX_SIZE", "plenty"),
        ("KACHE_MAX_SIZE", "-1"),
        ("KACHE_MAX_SIZE", "0"),
        ("KACHE_MAX_SIZE", "9" * 5000),
        ("KACHE_COMPRESSION_LEVEL", "23"),
        ("KACHE_COMPRESSION_LEVEL", "0"),
        ("KACHE_COMPRESSION_LEVEL", "3.5"),
        ("KACHE_COMPRESSION_LEVEL", "\u0663"),
        ("KACHE_S3_CONCURRENCY", "0"),
        ("KACHE_S3_POOL_IDLE_SECS", "soon"),
        ("KACHE_DISABLED", "maybe"),
        ("KACHE_PROGRESS", "sometimes"),
        ("KACHE_KEY_ENV_VARS", "A=1"),
        ("KACHE_CACHE_EXECUTABLES", "tr\nue\udc80"),
    ],
)
def test_a_wrong_variable_is_named_and_not_used(
    env: str, text: str, load: Callable[..., config.Settings], user_file: Callable[[str], Path]
) -> None:
    (one,) = [one for one in SETTINGS if one.env == env]
    settings_ = load(**{env: text})
    assert getattr(settings_, one.name) == one.default
    assert not settings_.broken, "a build is never hurt by a variable"
    (problem,) = settings_.problems
    assert problem.startswith(env + "=") and "give " in problem
    assert problem.isprintable() and len(problem) < 300
    with pytest.raises(ConfigError, match=env) as caught:
        config.require(settings_)
    assert caught.value.exit_code == 2
    if one.key:
        _, in_file, value = SAMPLES[one.kind]
        user_file(toml(one.key, in_file))
        assert getattr(load(**{env: text}), one.name) == value, "the next layer holds"


def test_require_is_content_where_nothing_is_wrong_and_one_line_where_much_is(
    load: Callable[..., config.Settings],
) -> None:
    config.require(load())
    settings_ = load(KACHE_MAX_SIZE="x", KACHE_PROGRESS="y", KACHE_DISABLED="z")
    with pytest.raises(ConfigError, match=r"KACHE_MAX_SIZE='x'.*and 2 more") as caught:
        config.require(settings_)
    assert "\n" not in str(caught.value)


def test_without_home_there_is_no_store_but_the_one_that_is_named(load: Callable[..., config.Settings]) -> None:
    for unset in (None, "", "relative"):
        assert load(HOME=unset).cache_dir == ""
        assert load(HOME=unset).log_path == ""
        assert load(HOME=unset).problems == ()
        assert load(HOME=unset, KACHE_CACHE_DIR="/c").cache_dir == "/c"
    settings_ = load(HOME=None, KACHE_CACHE_DIR="~/c")
    assert settings_.cache_dir == ""
    assert "HOME" in settings_.problems[0]


def test_paths_in_variables(load: Callable[..., config.Settings], home: Path, tmp_path: Path) -> None:
    assert load(KACHE_CACHE_DIR="~/c").cache_dir == f"{home}/c"
    assert load(KACHE_CACHE_DIR="$HOME/c", search=[tmp_path]).cache_dir == f"{tmp_path}/$HOME/c", "the shell's business"
    assert load(KACHE_CACHE_DIR="c/../d/", search=[tmp_path]).cache_dir == f"{tmp_path}/d"
    assert load(KACHE_READONLY_STORE="/baked").readonly_store == "/baked"
    assert load(KACHE_READONLY_STORE="/b\udcff").readonly_store == "/b\udcff"


def test_paths_in_a_file_are_relative_to_it(load: Callable[..., config.Settings], home: Path, tmp_path: Path) -> None:
    def cache_dir(text: str, **environ: str) -> config.Settings:
        project(tmp_path / "ws", f'[cache]\nlocal_store = "{text}"\n')
        return load(search=[tmp_path / "ws/deep"], **environ)

    assert cache_dir("cache").cache_dir == f"{tmp_path}/ws/cache"
    assert cache_dir("~/c").cache_dir == f"{home}/c"
    assert cache_dir("$BASE/c", BASE="/b").cache_dir == "/b/c"
    assert cache_dir("${BASE}/c", BASE="/b[x]").cache_dir == "/b[x]/c"
    assert cache_dir("").cache_dir == f"{home}/.cache/kache"
    unset = cache_dir("$BASE/c")
    assert unset.broken and "$BASE is not set" in unset.problems[0]


def test_the_log_lies_beside_the_users_cache(load: Callable[..., config.Settings], home: Path) -> None:
    place = "Library/Logs/kache" if sys.platform == "darwin" else ".cache/kache"
    assert load(KACHE_CACHE_DIR="/elsewhere").log_path == f"{home}/{place}/kache.log"


def test_environment_is_the_processes() -> None:
    found = config.environment()
    assert found == dict(os.environ)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.path.append(sys.argv[2])\n"
        "from kachelib import config\n"
        "assert 'os' not in sys.modules\n"
        "sys.stdout.write(ascii(config.environment()['STRANGE']))"
    )
    done = bare_python(code, {b"STRANGE": b"\xff\xc3\xa9"})
    assert done.stdout == r"'\udcff\xe9'", done.stderr


def bare_python(code: str, environ: "Dict[bytes, bytes]", *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run code as the one file does: without site, so with nothing that site imports."""
    import blake3

    packages = str(Path(blake3.__file__).parent.parent)
    words: List[str] = [
        sys.executable,
        "-B",
        "-I",
        "-S",
        "-X",
        "utf8",
        "-c",
        code,
        str(REPOSITORY),
        packages,
        *arguments,
    ]
    return subprocess.run(words, env=environ, capture_output=True, text=True, check=False)


HOT = {"key", "outcome", "store", "entry", "memo", "globs", "settings", "config", "nix"}


def test_a_known_file_costs_no_toml(user_file: Callable[[str], Path], home: Path) -> None:
    user_file('[cache]\nkey_salt = "s"\nexclude = ["a", "b"]\ncache_executables = true\nlocal_max_size = "1GB"\n')
    settle()
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.path.append(sys.argv[2])\n"
        "before = set(sys.modules)\n"
        "from kachelib import config\n"
        "settings = config.load(config.environment(), ('/',))\n"
        "loaded = sorted(set(sys.modules) - before)\n"
        "values = (settings.key_salt, settings.exclude, settings.cache_executables, settings.local_max_size)\n"
        "sys.stdout.write(repr(values) + chr(10) + ' '.join(loaded))"
    )
    environ = {b"HOME": str(home).encode()}
    values = "('s', ('a', 'b'), True, 1000000000)"
    first = bare_python(code, environ)
    assert first.stdout.splitlines()[:1] == [values], first.stderr
    assert {"tomllib", "tomli"} & set(first.stdout.split()), "the first time it is parsed"
    second = bare_python(code, environ)
    assert second.stdout.splitlines()[0] == values
    loaded = set(second.stdout.splitlines()[1].split())
    assert {name for name in loaded if name.startswith("kachelib.")} <= {"kachelib." + name for name in HOT}
    # blake3's package brings what it likes; the one file loads its native module alone
    assert not {"tomllib", "tomli", "kachelib.config_file"} & loaded


def memo_file(home: Path) -> Path:
    (path,) = [path for path in (home / ".cache/kache/memo").rglob("*") if path.is_file()]
    return path


def count_reads(monkeypatch: pytest.MonkeyPatch) -> List[str]:
    reads: List[str] = []
    real = config_file.read

    def counted(path: str) -> config.FileSettings:
        reads.append(path)
        return real(path)

    monkeypatch.setattr(config_file, "read", counted)
    return reads


def same(a: config.Settings, b: config.Settings) -> bool:
    return all(getattr(a, name) == getattr(b, name) for name in config.Settings.__slots__)


FULL = (
    '[cache]\nlocal_store = "$HOME/x"\nexclude = ["a/**", "ü"]\ncompression_level = 5\nclean_incremental = false\n'
    'key_env_vars = []\nunknown = 1\n[cache.remote]\nbucket = "b"\n[cc]\nextra_allowlist_flags = ["-x"]\n'
)


def test_the_memo_says_what_the_file_says(
    load: Callable[..., config.Settings], user_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file(FULL)
    settle()
    reads = count_reads(monkeypatch)
    first = load()
    assert len(first.problems) == 1 and len(reads) == 1
    second = load()
    assert same(first, second) and len(reads) == 1
    assert load(HOME="/other").cache_dir == "/other/.cache/kache", "another user's"


def test_a_file_that_changed_is_read_again(
    load: Callable[..., config.Settings], user_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = user_file('[cache]\nkey_salt = "one"\n')
    times = path.stat()
    settle()
    assert load().key_salt == "one"
    # the same size, and the old mtime put back
    path.write_text('[cache]\nkey_salt = "two"\n')
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert load().key_salt == "two"
    path.unlink()
    assert load().key_salt == ""


def test_a_file_written_just_now_leaves_no_memo(
    load: Callable[..., config.Settings], user_file: Callable[[str], Path], home: Path
) -> None:
    user_file('[cache]\nkey_salt = "one"\n')
    assert load().key_salt == "one"
    assert not (home / ".cache/kache/memo").exists()


def test_a_damaged_memo_is_none(
    load: Callable[..., config.Settings], user_file: Callable[[str], Path], home: Path
) -> None:
    user_file(FULL)
    settle()
    whole = load()
    path = memo_file(home)
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes((data[at] ^ 0x10,)) + data[at + 1 :])
        assert same(load(), whole), at
        path.write_bytes(data[:at])
        assert same(load(), whole), at
    path.unlink()
    path.mkdir()
    assert same(load(), whole)


def test_a_memo_whose_fields_make_no_sense_is_none(
    load: Callable[..., config.Settings], user_file: Callable[[str], Path], home: Path
) -> None:
    user_file(FULL)
    settle()
    whole = load()
    path = memo_file(home)
    body = memo.read(str(path))
    assert body is not None
    fields = body.split(b"\0")
    for fields_ in ([], fields[:1], fields[:2], [fields[0], b"x"], [*fields, b"no_such"], [*fields, b"exclude", b"9x"]):
        memo.write(str(path), b"\0".join(fields_))
        assert same(load(), whole)


def test_a_memo_of_another_table_of_settings_is_none(
    load: Callable[..., config.Settings],
    user_file: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user_file("[cache]\nunknown = true\n")
    settle()
    assert "unknown" in load().problems[0]
    added = Setting("disabled", "", "cache.unknown", FLAG, False, help="")
    rows = (*(one for one in SETTINGS if one.name != "disabled"), added)
    monkeypatch.setattr(config, "SETTINGS", rows)
    monkeypatch.setattr(config_file, "SETTINGS", rows)
    assert load().problems == ()
    assert load().disabled is True


def test_what_made_a_file_unreadable_may_have_gone(
    load: Callable[..., config.Settings], user_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file('[cache]\nkey_salt = "s"\n')
    settle()
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "tomllib" if sys.version_info >= (3, 11) else "tomli", None)
        assert load().broken
    assert load().key_salt == "s"


def test_the_memo_lies_in_the_cache_that_the_environment_names(
    load: Callable[..., config.Settings], user_file: Callable[[str], Path], home: Path, tmp_path: Path
) -> None:
    user_file('[cache]\nlocal_store = "/nowhere/else"\n')
    settle()
    load(KACHE_CACHE_DIR=str(tmp_path / "c"))
    assert (tmp_path / "c/memo").is_dir()
    assert not (home / ".cache").exists()


def test_a_cache_that_cannot_be_written_costs_no_more_than_time(
    load: Callable[..., config.Settings], user_file: Callable[[str], Path], tmp_path: Path
) -> None:
    user_file('[cache]\nkey_salt = "s"\n')
    settle()
    (tmp_path / "c").write_text("a file")
    for _ in range(2):
        assert load(KACHE_CACHE_DIR=str(tmp_path / "c")).key_salt == "s"
    assert load(HOME=None, XDG_CONFIG_HOME=str(tmp_path / "user/.config")).key_salt == "s", "no HOME, no memo"


@pytest.mark.parametrize("name", ["", "\0", "x" * 5000, "a\udc80/b", "."])
def test_load_never_raises(name: str, load: Callable[..., config.Settings], tmp_path: Path) -> None:
    for environ in ({"KACHE_CONFIG": name}, {"HOME": name}, {"XDG_CONFIG_HOME": "/" + name}, {"KACHE_CACHE_DIR": name}):
        load(**environ)
    config.load({"HOME": str(tmp_path)}, (name, "/" + name))
    config.load({}, ())


def test_an_unreadable_file_is_broken(
    load: Callable[..., config.Settings], user_file: Callable[[str], Path], tmp_path: Path
) -> None:
    settings_ = load(KACHE_CONFIG=str(tmp_path))
    assert settings_.broken and "not a regular file" in settings_.problems[0]
    path = user_file("")
    if os.geteuid() != 0:
        path.chmod(0)
        assert load().broken
    path.unlink()
    path.symlink_to(path)
    settings_ = load(KACHE_CONFIG=str(path))
    assert settings_.broken and "cannot be read" in settings_.problems[0]


def test_secrets_are_in_no_message(load: Callable[..., config.Settings], user_file: Callable[[str], Path]) -> None:
    user_file('[cache.remote]\nsecret_key = "hunter2"\n[cache]\ns3_secret_key = "hunter2"\nbucket = "hunter2"\n')
    settings_ = load(KACHE_S3_SECRET_KEY="hunter2", KACHE_S3_ACCESS_KEY="hunter2")
    assert len(settings_.problems) == 3
    assert "hunter2" not in "".join(settings_.problems)


def test_lists_are_lists() -> None:
    assert set(LISTS) == {WORDS, NAMES, GLOBS, settings.DIRECTORIES}
    assert row("exclude").env == ""
