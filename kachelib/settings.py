"""The table of settings, and what a value of each may look like.

Owns their names, kinds, defaults, and the reading of sizes and durations.
Knows nothing of where a value comes from: config does.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Tuple, Union

    Value = Union[str, int, bool, Tuple[str, ...]]

# Kinds of settings. In Python: TEXT, PATH and CHOICE are str, SIZE (bytes),
# SECONDS and COUNT are int, FLAG is bool, WORDS, NAMES, GLOBS and DIRECTORIES are tuples of str.
TEXT = "text"
PATH = "path"
CHOICE = "choice"
SIZE = "size"
SECONDS = "seconds"
COUNT = "count"
FLAG = "flag"
WORDS = "words"  # in the environment: separated by white space
NAMES = "names"  # in the environment: separated by white space or commas
GLOBS = "globs"
DIRECTORIES = "directories"  # in the environment: separated by colons

LISTS = (WORDS, NAMES, GLOBS, DIRECTORIES)
NUMBERS = (SIZE, SECONDS, COUNT)

TRUE_WORDS = ("1", "true", "yes", "on")
FALSE_WORDS = ("0", "false", "no", "off")

_SIZE_HELP = "give a size such as 50GiB, 10GB, 512MiB or 1024MB"
_DURATION_HELP = "give a duration such as 7d, 24h, 30m or 90s"
_DIGITS = "0123456789"
# Longer numbers mean nothing, and Python refuses to convert very long ones.
_MOST_DIGITS = 20
_LARGEST = (1 << 63) - 1

_SIZE_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgtp", 1):
    # A letter alone is binary, as in du, dd and sccache.
    _SIZE_UNITS[_letter] = _SIZE_UNITS[_letter + "ib"] = 1024**_power
    _SIZE_UNITS[_letter + "b"] = 1000**_power

_DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class Setting:
    """One row of the table.

    name: the attribute of Settings. env, key: the environment variable and the
    dotted key of the file, "" where there is none. low, high: bounds of a
    number, both inclusive. choices: of a CHOICE. secret: never printed.
    ours: not in the settings that users of kache 2 know.
    """

    __slots__ = ("choices", "default", "env", "help", "high", "key", "kind", "low", "name", "ours", "secret")

    def __init__(
        self,
        name: str,
        env: str,
        key: str,
        kind: str,
        default: "Value",
        *,
        help: str,
        low: int = 0,
        high: int = (1 << 63) - 1,
        choices: "Tuple[str, ...]" = (),
        secret: bool = False,
        ours: bool = False,
    ) -> None:
        self.name = name
        self.env = env
        self.key = key
        self.kind = kind
        self.default = default
        self.help = help
        self.low = low
        self.high = high
        self.choices = choices
        self.secret = secret
        self.ours = ours


# One row a setting, in the order in which they are shown. A new setting is one
# row here, its annotation in Settings and its line in docs/configuration.md.
SETTINGS = (
    Setting("cache_dir", "KACHE_CACHE_DIR", "cache.local_store", PATH, "", help="local cache directory"),
    Setting("local_max_size", "KACHE_MAX_SIZE", "cache.local_max_size", SIZE, 50 << 30, help="largest store", low=1),
    Setting("readonly_store", "KACHE_READONLY_STORE", "cache.readonly_store", PATH, "",
            help="a second cache directory, looked into after one's own and never written", ours=True),
    Setting("cache_executables", "KACHE_CACHE_EXECUTABLES", "cache.cache_executables", FLAG, False,
            help="cache bin, dylib, cdylib and proc-macro outputs"),
    Setting("clean_incremental", "KACHE_CLEAN_INCREMENTAL", "cache.clean_incremental", FLAG, True,
            help="remove incremental directories during gc and of the crate that is built"),
    Setting("exclude", "", "cache.exclude", GLOBS, (), help="globs of sources that are compiled without kache"),
    Setting("compression_level", "KACHE_COMPRESSION_LEVEL", "cache.compression_level", COUNT, 3,
            help="zstd compression level", low=1, high=22),
    Setting("key_salt", "KACHE_KEY_SALT", "cache.key_salt", TEXT, "", help="opaque text in every cache key"),
    Setting("nix_salt", "KACHE_NIX_SALT", "cache.nix_salt", FLAG, False,
            help="fold what `kache salt` prints into every cache key, beside key_salt", ours=True),
    Setting("key_env_vars", "KACHE_KEY_ENV_VARS", "cache.key_env_vars", NAMES, (),
            help="environment variables whose values are in every cache key", ours=True),
    Setting("path_normalize", "KACHE_RUSTC_PATH_NORMALIZE", "cache.rustc_path_normalize", FLAG, True,
            help="remap local paths, so that entries are good in other places", ours=True),
    Setting("warm_targets", "KACHE_WARM_TARGETS", "cache.warm_targets", FLAG, True,
            help="put whole units back into a new target directory", ours=True),
    Setting("warm_deadline_ms", "KACHE_WARM_DEADLINE_MS", "cache.warm_deadline_ms", COUNT, 3000,
            help="how long putting units back may take, in milliseconds", low=1, high=600_000, ours=True),
    Setting("take_units", "KACHE_TAKE_UNITS", "cache.take_units", FLAG, True,
            help="keep what Cargo built, for putting it back, once Cargo has ended", ours=True),
    Setting("s3_concurrency", "KACHE_S3_CONCURRENCY", "cache.s3_concurrency", COUNT, 16,
            help="most concurrent S3 operations", low=1, high=1024),
    Setting("s3_pool_idle_secs", "KACHE_S3_POOL_IDLE_SECS", "cache.s3_pool_idle_secs", SECONDS, 300,
            help="how long an idle S3 connection is kept"),
    Setting("daemon_idle_timeout_secs", "KACHE_DAEMON_IDLE_TIMEOUT", "cache.daemon_idle_timeout_secs", SECONDS, 600,
            help="idle time after which the daemon leaves; 0: never"),
    Setting("uploader", "KACHE_UPLOADER", "cache.uploader", CHOICE, "auto",
            help="whether builds start a process that pushes to the remote and fetches from it",
            choices=("auto", "off"), ours=True),
    Setting("remote_type", "", "cache.remote.type", CHOICE, "s3", help="kind of remote",
            choices=("s3", "filesystem")),
    Setting("remote_path", "KACHE_REMOTE_PATH", "cache.remote.path", PATH, "",
            help="directory of a filesystem remote", ours=True),
    Setting("remote_readonly", "KACHE_REMOTE_READONLY", "cache.remote.readonly", FLAG, False,
            help="only read from the remote", ours=True),
    Setting("remote_bucket", "KACHE_S3_BUCKET", "cache.remote.bucket", TEXT, "", help="S3 bucket"),
    Setting("remote_endpoint", "KACHE_S3_ENDPOINT", "cache.remote.endpoint", TEXT, "", help="S3 endpoint URL"),
    Setting("remote_region", "KACHE_S3_REGION", "cache.remote.region", TEXT, "us-east-1", help="AWS region"),
    Setting("remote_prefix", "KACHE_S3_PREFIX", "cache.remote.prefix", TEXT, "artifacts", help="prefix in the bucket"),
    Setting("remote_profile", "KACHE_S3_PROFILE", "cache.remote.profile", TEXT, "", help="AWS credentials profile"),
    Setting("remote_addressing", "KACHE_S3_ADDRESSING", "cache.remote.addressing", CHOICE, "auto",
            help="where the bucket's name goes: into the path, or before the host", choices=("auto", "path", "virtual"),
            ours=True),
    Setting("remote_ca_bundle", "KACHE_S3_CA_BUNDLE", "cache.remote.ca_bundle", PATH, "",
            help="file of certificates that are trusted for the endpoint", ours=True),
    Setting("remote_signing_key", "KACHE_REMOTE_SIGNING_KEY", "cache.remote.signing_key", TEXT, "",
            help="secret key NAME:BASE64, or a file that holds it, to sign with", secret=True, ours=True),
    Setting("remote_trusted_keys", "KACHE_REMOTE_TRUSTED_KEYS", "cache.remote.trusted_keys", WORDS, (),
            help="public keys NAME:BASE64; with any, nothing else is believed", ours=True),
    Setting("s3_access_key", "KACHE_S3_ACCESS_KEY", "", TEXT, "", help="explicit S3 access key", secret=True),
    Setting("s3_secret_key", "KACHE_S3_SECRET_KEY", "", TEXT, "", help="explicit S3 secret key", secret=True),
    Setting("cc_extra_allowlist_flags", "KACHE_CC_EXTRA_ALLOWLIST_FLAGS", "cc.extra_allowlist_flags", WORDS, (),
            help="C and C++ flags to cache beyond those that are known"),
    Setting("cc_path_normalize", "KACHE_CC_PATH_NORMALIZE", "cc.path_normalize", FLAG, True,
            help="map local paths in C and C++ objects, so that entries are good in other places", ours=True),
    Setting("cc_identity", "KACHE_CC_IDENTITY", "cc.identity", CHOICE, "banner",
            help="what tells C compilers apart: what they say of themselves, or their programs' content",
            choices=("banner", "content"), ours=True),
    Setting("base_dirs", "KACHE_BASE_DIR", "paths.base_dirs", DIRECTORIES, (),
            help="directories that lie elsewhere on other machines, for C and C++", ours=True),
    Setting("disabled", "KACHE_DISABLED", "", FLAG, False, help="switch caching off"),
    Setting("log", "KACHE_LOG", "", TEXT, "kache=warn", help="log filter of standard error"),
    Setting("log_file", "KACHE_LOG_FILE", "", TEXT, "kache=info", help="log filter of the file log"),
    Setting("progress", "KACHE_PROGRESS", "", CHOICE, "auto", help="a line for each crate",
            choices=("auto", "always", "never")),
    Setting("pager", "KACHE_PAGER", "", TEXT, "", help="program that long output on a terminal goes through",
            ours=True),
)  # fmt: skip


class Settings:
    """The settings of one invocation: an attribute for every row of SETTINGS, and

    cache_dir: "" when there is no place for a store (HOME is not set and nothing names one).
    file: the selected file, "" when there is none. log_path: the file log, "" when there is no place for it.
    toolchain_salt: with nix_salt, what stands for the Nix toolchain; "" without one.
    problems: one line each on what is wrong; ``require`` raises them. warnings: the same, but commands go on.
    broken: the file says something that is not understood, so the wrapper compiles without the cache.
    """

    __slots__ = (
        *(row.name for row in SETTINGS),
        "broken",
        "file",
        "log_path",
        "origins",
        "problems",
        "toolchain_salt",
        "warnings",
    )

    @property
    def has_remote(self) -> bool:
        """Whether compiles look into a remote, and leave there what they made."""
        named = self.remote_path if self.remote_type == "filesystem" else self.remote_bucket
        return bool(named) and self.uploader == "auto" and sys.platform == "linux"

    cache_dir: str
    local_max_size: int
    readonly_store: str
    cache_executables: bool
    clean_incremental: bool
    exclude: "Tuple[str, ...]"
    compression_level: int
    key_salt: str
    nix_salt: bool
    key_env_vars: "Tuple[str, ...]"
    path_normalize: bool
    warm_targets: bool
    warm_deadline_ms: int
    take_units: bool
    s3_concurrency: int
    s3_pool_idle_secs: int
    daemon_idle_timeout_secs: int
    uploader: str
    remote_type: str
    remote_path: str
    remote_readonly: bool
    remote_addressing: str
    remote_ca_bundle: str
    remote_signing_key: str
    remote_trusted_keys: "Tuple[str, ...]"
    remote_bucket: str
    remote_endpoint: str
    remote_region: str
    remote_prefix: str
    remote_profile: str
    s3_access_key: str
    s3_secret_key: str
    cc_extra_allowlist_flags: "Tuple[str, ...]"
    cc_path_normalize: bool
    cc_identity: str
    base_dirs: "Tuple[str, ...]"
    disabled: bool
    log: str
    log_file: str
    progress: str
    pager: str

    file: str
    log_path: str
    toolchain_salt: str
    problems: "Tuple[str, ...]"
    warnings: "Tuple[str, ...]"
    broken: bool
    origins: "Dict[str, str]"


def parse_text(row: Setting, text: str) -> "Value":
    """The value of ``row`` that an environment variable's ``text`` stands for. Raises ValueError: what is accepted."""
    kind = row.kind
    if kind == FLAG:
        word = text.strip().lower()
        if word in TRUE_WORDS:
            return True
        if word in FALSE_WORDS:
            return False
    elif kind == WORDS:
        return tuple(text.split())
    elif kind == DIRECTORIES:
        places = tuple([place.rstrip("/") for place in text.split(":") if place])
        if all(place.startswith("/") for place in places):
            return places
    elif kind == NAMES:
        names = tuple(text.replace(",", " ").split())
        if "=" not in text:
            return names
    elif kind == CHOICE:
        word = text.strip().lower()
        if word in row.choices:
            return word
    elif kind in NUMBERS:
        number = _number(kind, text.strip())
        if row.low <= number <= row.high:
            return number
    else:
        return text
    raise ValueError(accepted(row))


def accepted(row: Setting) -> str:
    """What ``row`` takes, for messages: "give a whole number from 1 to 22"."""
    if row.kind == FLAG:
        return "give true or false"
    if row.kind == CHOICE:
        return "give " + " or ".join(row.choices)
    if row.kind == SIZE:
        return _SIZE_HELP + (", more than 0" if row.low else "")
    if row.kind == SECONDS:
        return "give seconds, or a duration such as 10m"
    if row.kind == COUNT:
        return f"give a whole number from {row.low} to {row.high}"
    if row.kind == NAMES:
        return "give names of environment variables"
    if row.kind == DIRECTORIES:
        return "give absolute directories, separated by colons"
    if row.kind in LISTS:
        return "give a list of strings"
    return "give a string"


def quote(row: Setting, text: str) -> str:
    """``text`` as a message may show it: one line, not long, and no secret."""
    if row.secret:
        return "***"
    shown = ascii(text) if not text.isprintable() else f"'{text}'"
    return shown if len(shown) <= 80 else shown[:76] + "...'"


def parse_size(text: str) -> int:
    """Bytes of a size: a number, perhaps with a fraction, and B, KB, KiB, K … PB, PiB, P, in any case.

    Without a unit it is bytes. Raises ValueError that says what is accepted.
    """
    text = text.strip()
    length = _digits(text, 0)
    whole = text[:length]
    fraction = ""
    if text[length : length + 1] == ".":
        end = _digits(text, length + 1)
        fraction = text[length + 1 : end]
        if not fraction:
            raise ValueError(_SIZE_HELP)
        length = end
    unit = _SIZE_UNITS.get(text[length:].strip().lower())
    if unit is None or not whole or len(whole) > _MOST_DIGITS or len(fraction) > _MOST_DIGITS:
        raise ValueError(_SIZE_HELP)
    size = int(whole + fraction) * unit // int(10 ** len(fraction))
    if size > _LARGEST:
        raise ValueError(_SIZE_HELP)
    return size


def parse_duration(text: str) -> int:
    """Seconds of a duration: whole numbers with s, m, h, d or w, added up: "7d", "1h30m".

    Raises ValueError that says what is accepted.
    """
    text = text.strip().lower()
    total = 0
    at = 0
    while at < len(text):
        end = _digits(text, at)
        unit = _DURATION_UNITS.get(text[end : end + 1])
        if unit is None or end == at or end - at > _MOST_DIGITS:
            raise ValueError(_DURATION_HELP)
        total += int(text[at:end]) * unit
        at = end + 1
    if at == 0 or total > _LARGEST:
        raise ValueError(_DURATION_HELP)
    return total


def _number(kind: str, text: str) -> int:
    if kind == SIZE:
        return parse_size(text)
    plain = text and _digits(text, 0) == len(text) <= _MOST_DIGITS
    if kind == SECONDS and not plain:
        try:
            return parse_duration(text)
        except ValueError:
            return -1
    return int(text) if plain else -1


def _digits(text: str, start: int) -> int:
    end = start
    while end < len(text) and text[end] in _DIGITS:
        end += 1
    return end
