"""Settings: environment over the one selected file over the default; every value knows where it came from.

Owns the reading of kache's own environment variables (nobody else reads one)
and the choice of the file. Knows nothing of TOML: config_file does, and on a
hit it is not loaded, for what the file says is kept in a memo.

Fields of that memo, joined by NUL, which config_file lets into no field (version and checksum: memo.py):

    state count { problem } { name count { item } }

    state   identity of the file, version of kache, digest of the table of settings, path of the file
    item    of a number in ASCII decimal, of a flag "1" or "0"

What is broken is read anew each time: it is compiled without the cache anyway.
"""

import posix
import sys
import time

from kachelib import VERSION, globs, memo, nix
from kachelib.key import digest_bytes
from kachelib.outcome import ConfigError
from kachelib.settings import (
    DIRECTORIES,
    FLAG,
    LISTS,
    NUMBERS,
    PATH,
    SETTINGS,
    Settings,
    parse_duration,
    parse_size,
    parse_text,
    quote,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Mapping, Optional, Sequence, Tuple

    from kachelib.settings import Setting, Value

__all__ = (
    "FileSettings",
    "Settings",
    "environment",
    "home_directory",
    "load",
    "origin",
    "parse_duration",
    "parse_size",
    "require",
    "select_file",
    "user_file",
)

_PROJECT_FILE = ".kache.toml"
_FILE_TYPE = 0o170000
_REGULAR = 0o100000


class FileSettings:
    """What one configuration file says.

    values: by attribute name, validated, paths and globs as they are written.
    problems, broken: as in Settings.
    """

    __slots__ = ("broken", "problems", "values")

    def __init__(self, values: "Dict[str, Value]", problems: "Tuple[str, ...]", broken: bool) -> None:
        self.values = values
        self.problems = problems
        self.broken = broken


def environment() -> "Dict[str, str]":
    """The environment of this process, decoded; names and values may hold surrogate escapes."""
    # Where os is loaded, its view has what was set since the start; posix.environ has not.
    module = sys.modules.get("os")
    if module is not None:
        return dict(module.environ)
    return {
        name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
        for name, value in posix.environ.items()
    }


def load(environ: "Mapping[str, str]", search: "Sequence[str]") -> Settings:
    """The settings that hold for ``environ``. Never raises.

    ``search``: directories from which a project's .kache.toml is looked for
    upwards, the first that finds one wins; the first of them is also what
    relative paths in the environment are relative to.
    """
    settings = Settings()
    problems: "List[str]" = []
    warnings: "List[str]" = []
    base = _base(search)
    home = home_directory(environ)
    default_cache = _default_cache_dir(home)
    named = _absolute(environ.get("KACHE_CACHE_DIR", ""), base, home) or default_cache
    path = select_file(environ, search)
    found = _read_file(path, named + "/memo" if named else "", warnings) if path else FileSettings({}, (), False)
    problems += found.problems
    settings.file = path
    settings.broken = found.broken
    settings.origins = {}
    for row in SETTINGS:
        value: "Optional[Value]" = None
        text = environ.get(row.env, "") if row.env else ""
        if text:
            try:
                value = _from_environment(row, text, base, home)
                settings.origins[row.name] = "env " + row.env
            except ValueError as error:
                problems.append(f"{row.env}={quote(row, text)}: {error}; the value is not used")
        if value is None and row.name in found.values:
            try:
                value = _from_file(row, found.values[row.name], path, environ)
                settings.origins[row.name] = "file " + path
            except ValueError as error:
                problems.append(f"{path}: {row.key}: {error}")
                settings.broken = True
        if value is None:
            value = default_cache if row.name == "cache_dir" else row.default
        setattr(settings, row.name, value)
    settings.log_path = _log_path(home)
    settings.toolchain_salt = nix.resolve(dict(environ), base).salt() if settings.nix_salt else ""
    settings.problems = tuple(problems)
    settings.warnings = tuple(warnings)
    return settings


def origin(settings: Settings, name: str) -> str:
    """Where the value of ``name`` came from: "default", "env KACHE_X" or "file PATH"."""
    return settings.origins.get(name, "default")


def require(settings: Settings) -> None:
    """Raise ConfigError when there are problems; for commands, which should not guess."""
    if not settings.problems:
        return
    more = len(settings.problems) - 1
    rest = f" (and {more} more: `kache config --show` lists them)" if more else ""
    raise ConfigError(settings.problems[0] + rest)


def home_directory(environ: "Mapping[str, str]") -> str:
    """HOME without a trailing slash, or "" when it is not an absolute path. The user database is not asked."""
    home = environ.get("HOME", "")
    if not home.startswith("/"):
        return ""
    return home.rstrip("/") or "/"


def user_file(environ: "Mapping[str, str]") -> str:
    """Where the user's own configuration file lies or would lie; "" when HOME and XDG_CONFIG_HOME are not set."""
    # The XDG specification: a relative path is to be ignored.
    base = environ.get("XDG_CONFIG_HOME", "")
    if not base.startswith("/"):
        home = home_directory(environ)
        if not home:
            return ""
        base = home.rstrip("/") + "/.config"
    return base.rstrip("/") + "/kache/config.toml"


def select_file(environ: "Mapping[str, str]", search: "Sequence[str]") -> str:
    """The one file that is read: KACHE_CONFIG, else the nearest .kache.toml, else the user's; "" for none."""
    explicit = environ.get("KACHE_CONFIG", "")
    if explicit:
        return _absolute(explicit, _base(search), home_directory(environ)) or explicit
    seen = set()
    for start in search:
        if not start.startswith("/"):
            continue
        directory = globs.normalise(start)
        while directory not in seen:
            seen.add(directory)
            path = directory.rstrip("/") + "/" + _PROJECT_FILE
            if _is_file(path):
                return path
            directory = directory.rpartition("/")[0] or "/"
    path = user_file(environ)
    return path if path and _is_file(path) else ""


def _from_environment(row: "Setting", text: str, base: str, home: str) -> "Value":
    value = parse_text(row, text)
    if row.kind != PATH:
        return value
    path = _absolute(text, base, home)
    if not path:
        raise ValueError("~ stands for HOME, which is not set")
    return path


def _from_file(row: "Setting", value: "Value", file: str, environ: "Mapping[str, str]") -> "Value":
    if row.kind == DIRECTORIES and isinstance(value, tuple):
        return tuple([_one_from_file(str(each), file, environ).rstrip("/") for each in value])
    return _one_from_file(str(value), file, environ) if row.kind == PATH else value


def _one_from_file(text: str, file: str, environ: "Mapping[str, str]") -> str:
    """A path of the file, absolute: relative ones are relative to the file's directory. Raises ValueError."""
    missing = globs.unset_variable(text, environ)
    if missing:
        raise ValueError(f"{missing} is not set")
    return _absolute(globs.expand_path(text, environ), file.rpartition("/")[0], "")


def _read_file(path: str, memo_dir: str, warnings: "List[str]") -> FileSettings:
    now = time.time_ns()
    try:
        status = posix.stat(path)
    except FileNotFoundError:
        # Named by KACHE_CONFIG and not written yet; any other was there a moment ago.
        warnings.append(f"{path} does not exist; the defaults are used")
        return FileSettings({}, (), False)
    except OSError as error:
        return FileSettings({}, (f"{path} cannot be read: {error.strerror}",), True)
    except ValueError:
        return FileSettings({}, ("KACHE_CONFIG is not a path",), True)
    memo_path = memo.path_of(memo_dir, "config", path) if memo_dir else ""
    state = _state(path, status)
    body = memo.read(memo_path) if memo_path else None
    if body is not None:
        try:
            return _thaw(state, body)
        except (ValueError, KeyError, IndexError):
            pass  # of another state of the file, or of another table
    from kachelib import config_file

    found = config_file.read(path)
    # A device has no content that its metadata could stand for; what made a file unreadable may not be in the file.
    lasting = status.st_mode & _FILE_TYPE == _REGULAR and not found.broken and not memo.is_racy((status,), now)
    if memo_path and lasting:
        memo.write(memo_path, _freeze(state, found))
    return found


def _state(path: str, status: posix.stat_result) -> str:
    # Another table reads the same file differently: what was unknown may be known by now.
    rows = ",".join(f"{row.name}={row.key}:{row.kind}:{row.low}:{row.high}" for row in SETTINGS)
    return f"{memo.identity(status).decode()} {VERSION} {digest_bytes(rows.encode())} {path}"


def _freeze(state: str, found: FileSettings) -> bytes:
    fields = [state, str(len(found.problems)), *found.problems]
    for name, value in found.values.items():
        if isinstance(value, tuple):
            fields += [name, str(len(value)), *value]
        else:
            fields += [name, "1", value if isinstance(value, str) else str(int(value))]
    return "\0".join(fields).encode("utf-8", "surrogateescape")


def _thaw(state: str, body: bytes) -> FileSettings:
    """What ``_freeze`` kept. Raises ValueError, KeyError or IndexError when it was for another state."""
    fields = body.decode("utf-8", "surrogateescape").split("\0")
    if fields[0] != state:
        raise ValueError
    kinds = {row.name: row.kind for row in SETTINGS}
    values: "Dict[str, Value]" = {}
    end = 2 + int(fields[1])
    problems = tuple(fields[2:end])
    if len(problems) != end - 2:
        raise IndexError
    while end < len(fields):
        name = fields[end]
        start = end + 2
        end = start + int(fields[end + 1])
        kind = kinds[name]
        if end > len(fields):
            raise IndexError
        if kind in LISTS:
            values[name] = tuple(fields[start:end])
        elif kind == FLAG:
            values[name] = fields[start] == "1"
        elif kind in NUMBERS:
            values[name] = int(fields[start])
        else:
            values[name] = fields[start]
    return FileSettings(values, problems, False)


def _is_file(path: str) -> bool:
    try:
        return posix.stat(path).st_mode & _FILE_TYPE == _REGULAR
    except (OSError, ValueError):
        return False


def _base(search: "Sequence[str]") -> str:
    if search and search[0].startswith("/"):
        return search[0]
    try:
        return posix.getcwd()
    except OSError:
        return "/"


def _absolute(path: str, base: str, home: str) -> str:
    """``path`` with ~ replaced, below ``base`` when relative; "" when it is empty or needs a HOME that is not set."""
    if path == "~" or path.startswith("~/"):
        if not home:
            return ""
        path = home.rstrip("/") + path[1:]
    if not path:
        return ""
    return globs.normalise(path if path.startswith("/") else base + "/" + path)


def _default_cache_dir(home: str) -> str:
    if not home:
        return ""
    return home.rstrip("/") + ("/Library/Caches/kache" if sys.platform == "darwin" else "/.cache/kache")


def _log_path(home: str) -> str:
    if not home:
        return ""
    directory = "/Library/Logs/kache" if sys.platform == "darwin" else "/.cache/kache"
    return home.rstrip("/") + directory + "/kache.log"
