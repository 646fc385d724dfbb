"""What doctor looks at: one function a question, each with an answer and what to do about it.

Owns the judgement of the machine and the setup. Changes nothing. Knows nothing
of how findings are shown, nor of what lies inside the store.
"""

import os
import shutil
import sys
import tempfile
import time
from typing import Dict, Iterator, List, NamedTuple

from kachelib import (
    bundle,
    cargo_config,
    config,
    console,
    extra_inputs,
    history,
    inputs,
    inventory,
    migrate,
    nix,
    setup,
)
from kachelib.config import Settings
from kachelib.outcome import ConfigError, KacheError
from kachelib.sweep import TAG_NAME

OK = "ok"
WARNING = "warning"
PROBLEM = "problem"

# Locks and times are not to be trusted there.
NETWORK_FILE_SYSTEMS = frozenset(
    "9p afpfs afs beegfs ceph cifs fuse.ceph fuse.glusterfs fuse.rclone fuse.s3fs fuse.sshfs glusterfs gpfs lustre nfs "
    "nfs3 nfs4 ocfs2 smb smb2 smb3 smbfs webdav".split()
)
MEMORY_FILE_SYSTEMS = frozenset(("tmpfs", "ramfs"))

LITTLE_SPACE = 1 << 30

# Before this, a clock was never set: the first release of kache.
EARLIEST_CLOCK = 1_700_000_000
CLOCK_TOLERANCE = 2.0

# Crates lie no deeper below a workspace's root than this, mostly.
CRATE_DEPTH = 4

# The launcher's own variable; no setting, so not in config.
PYTHON_VARIABLE = "KACHE_PYTHON"


class Finding(NamedTuple):
    """An answer. status: OK, WARNING, PROBLEM. hint: what to do, "" where there is nothing."""

    check: str
    status: str
    message: str
    hint: str = ""


class Machine(NamedTuple):
    """What is looked at: the environment, where Cargo's configuration and home are, the settings, the directory."""

    environ: Dict[str, str]
    cargo_file: str
    home: str
    settings: Settings
    cwd: str


def this_machine() -> Machine:
    """The machine, the user and the directory that this command runs for."""
    environ = config.environment()
    cwd = console.current_directory()
    try:
        cargo_file = setup.cargo_file(environ)
    except KacheError:
        cargo_file = ""
    return Machine(environ, cargo_file, console.home(), config.load(environ, (cwd,)), cwd)


def all_findings(machine: Machine) -> Iterator[Finding]:
    """Every check, in the order in which things are needed."""
    yield from check_interpreter(machine)
    yield from check_compiler(machine)
    yield from check_configuration(machine)
    yield from check_salt(machine)
    yield from check_wrapper(machine)
    yield from check_sccache(machine)
    if machine.settings.cache_dir:
        yield from check_store(machine)
    yield from check_executables(machine)
    yield from check_package(machine)
    yield from check_extra_inputs(machine)


def check_interpreter(machine: Machine) -> Iterator[Finding]:
    """Which Python runs kache, and what its start costs."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    about = bundle.describe()
    how = f", {about['start']}, native modules in {about['native modules']}" if about else ""
    yield Finding("python", OK, f"{version} at {sys.executable}{how}")
    if machine.environ.get(PYTHON_VARIABLE) or not about:
        return
    note = bundle.remembered_python_file(machine.environ)
    remembered = _first_line(note)
    if remembered and os.access(remembered, os.X_OK):
        return
    if remembered:
        yield Finding("python", WARNING, f"{note} names {remembered}, which is gone", "kache doctor --fix")
        return
    found = shutil.which("python3", path=machine.environ.get("PATH"))
    if found and _is_script(found):
        costs = "each start of kache costs 40 ms more than with the interpreter itself"
        yield Finding("python", WARNING, f"{found} is a script (a pyenv shim?): {costs}", "kache doctor --fix")


def check_compiler(machine: Machine) -> Iterator[Finding]:
    """Whether Cargo and rustc are there."""
    path = machine.environ.get("PATH")
    for name in ("cargo", "rustc"):
        found = shutil.which(name, path=path)
        if found:
            yield Finding(name, OK, found)
        else:
            yield Finding(name, PROBLEM, f"there is no {name} on PATH", "install Rust: https://rustup.rs")


def check_configuration(machine: Machine) -> Iterator[Finding]:
    """Whether kache's own settings are understood."""
    settings = machine.settings
    for problem in settings.problems:
        yield Finding("configuration", PROBLEM, problem, "kache config --show lists every setting")
    for warning in settings.warnings:
        yield Finding("configuration", WARNING, warning)
    if not settings.problems:
        yield Finding("configuration", OK, settings.file or "the defaults; there is no file")
    if settings.disabled:
        yield Finding("configuration", PROBLEM, "kache is switched off: KACHE_DISABLED is set", "unset KACHE_DISABLED")
    if nix.is_hash_of_nothing(settings.key_salt):
        hint = "run the command that computes it by itself and mend it"
        yield Finding(
            "configuration", PROBLEM, "the key salt is the hash of nothing: the command behind it fails", hint
        )


def check_salt(machine: Machine) -> Iterator[Finding]:
    """Whether a Nix toolchain is in the key: its banners stay the same when libc or the linker below it changes."""
    settings = machine.settings
    found = nix.resolve(machine.environ, machine.cwd)
    salt = found.salt()
    known = settings.key_salt
    if settings.nix_salt:
        text = f"{salt}, folded in by cache.nix_salt" if salt else "cache.nix_salt is on; no tool is from the Nix store"
        yield Finding("nix salt", OK, text)
    elif nix.is_hash_of_nothing(known):
        return
    elif known.startswith((nix.PREFIX, nix.FLAKE_PREFIX, nix.CLOSURE_PREFIX)):
        yield _judge_salt(known, found, machine)
    elif salt and not known:
        first = next(f"{tool.name} ({tool.path})" for tool in found.tools if tool.stores)
        text = f"{first} is from the Nix store, and no key salt is set: an update below it moves no key"
        hint = 'KACHE_NIX_SALT=1, or export KACHE_KEY_SALT="$(kache salt)" in the shell'
        yield Finding("nix salt", WARNING, text, hint)
    elif salt:
        yield Finding("nix salt", OK, "a key salt is set")


def _judge_salt(known: str, found: nix.Environment, machine: Machine) -> Finding:
    """Whether a salt that kache made is of what the environment resolves to."""
    # Reads Nix's database, which few have.
    from kachelib import salt_command

    now, wrong, unknown = found.salt(), "", ""
    hint = "enter the shell anew; 'kache salt --check' says what differs"
    if not now:
        wrong = "no tool here is from the Nix store"
    elif known.startswith(nix.PREFIX):
        wrong = f"this environment gives {now}" if known != now else ""
    elif known.startswith(nix.FLAKE_PREFIX):
        wrong = "; ".join(nix.stale(machine.environ, known, found))
        if not wrong and not machine.environ.get(nix.FLAKE_PATHS):
            unknown = f"this shell does not say of what it is: {nix.FLAKE_PATHS} is not set"
            hint = f"{salt_command.ask_flake()} compares it"
    elif salt_command.is_of_named_paths(known, machine.settings.cache_dir):
        unknown = "it is of the closure of paths that were named"
        hint = f"{salt_command.NAME_PATHS} compares it"
    else:
        try:
            closure = salt_command.of_closure([], machine.environ).value
            wrong = f"the closure of the tools here gives {closure}" if known != closure else ""
        except KacheError as error:
            unknown, hint = str(error), "compare it where Nix's database is"
    if wrong:
        return Finding("nix salt", WARNING, f"the key salt is {known}, but {wrong}", hint)
    if unknown:
        return Finding("nix salt", OK, f"the key salt is {known}; not compared: {unknown}", hint)
    return Finding("nix salt", OK, "the key salt is this toolchain's")


def check_wrapper(machine: Machine) -> Iterator[Finding]:
    """Whether Cargo would call kache here: the environment wins, then the nearest configuration file."""
    for name in ("RUSTC_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"):
        if name in machine.environ:
            yield _judge_wrapper(machine.environ[name], name, machine)
            return
    for file in [*_project_files(machine.cwd, machine.cargo_file), machine.cargo_file]:
        try:
            value = cargo_config.wrapper(cargo_config.read(file), file)
        except ConfigError as error:
            yield Finding("wrapper", PROBLEM, str(error))
            continue
        if value:
            yield _judge_wrapper(value, file, machine)
            return
    yield Finding("wrapper", PROBLEM, "Cargo does not call kache here", "kache init, or export RUSTC_WRAPPER=kache")


def _judge_wrapper(value: str, where: str, machine: Machine) -> Finding:
    if not value:
        return Finding("wrapper", PROBLEM, f"{where} is empty: Cargo calls no wrapper", f"unset {where}")
    if migrate.is_sccache(value):
        return Finding("wrapper", PROBLEM, f"{where} names sccache", "kache doctor --fix")
    found = shutil.which(value, path=machine.environ.get("PATH"))
    if found is None:
        return Finding("wrapper", PROBLEM, f"{where} names {value}, which is no program here", "kache init")
    if not os.path.basename(os.path.realpath(found)).startswith("kache"):
        return Finding("wrapper", PROBLEM, f"{where} names {value}, which is not kache", "kache init")
    return Finding("wrapper", OK, f"{value} ({where})")


def _project_files(cwd: str, own: str) -> List[str]:
    """The configuration files that Cargo would read before its own, the nearest first."""
    found = []
    directory = cwd
    while True:
        for name in ("config", "config.toml"):
            file = os.path.join(directory, ".cargo", name)
            if os.path.isfile(file) and file != own:
                found.append(file)
                break
        parent = os.path.dirname(directory)
        if parent == directory:
            return found
        directory = parent


def check_sccache(machine: Machine) -> Iterator[Finding]:
    """What is left of sccache, other than the wrapper that is in force."""
    for item in migrate.leftovers(machine.cargo_file, machine.home):
        hint = "kache doctor --fix" if item.fixable else "change it by hand"
        yield Finding("sccache", WARNING, f"{item.where()}: {item.text}", hint)


def check_store(machine: Machine) -> Iterator[Finding]:
    """Whether the store can be used, where it lies, and whether there is room."""
    directory = machine.settings.cache_dir
    existing = _existing(directory)
    problem = _write_problem(existing)
    if problem:
        hint = "change its owner, or name another directory with KACHE_CACHE_DIR"
        yield Finding("store", PROBLEM, f"{existing}: {problem}: builds run without the cache", hint)
        return
    yield Finding("store", OK, directory if existing == directory else f"{directory} (the first build makes it)")
    yield from _links(directory)
    kind = file_system(existing)
    if kind in NETWORK_FILE_SYSTEMS:
        hint = "name a local directory with KACHE_CACHE_DIR"
        yield Finding("file system", WARNING, f"{kind}: slow, and locks may not hold between machines", hint)
    elif kind in MEMORY_FILE_SYSTEMS:
        yield Finding("file system", WARNING, f"{kind}: the store is gone after a restart, and takes memory")
    else:
        yield Finding("file system", OK, f"{kind or 'unknown'}; {_ways(existing, machine.cwd)}")
    yield from _room(machine.settings, existing)
    yield from check_clock(existing)


def _links(directory: str) -> Iterator[Finding]:
    for name in ("store", "entries"):
        path = f"{directory}/{name}"
        if os.path.islink(path):
            hint = "move it back, or link the cache directory as a whole"
            yield Finding("store", WARNING, f"{path} is a link: gc, purge and doctor do not follow it", hint)


def _room(settings: Settings, existing: str) -> Iterator[Finding]:
    free = shutil.disk_usage(existing).free
    files = [*inventory.blobs(settings.cache_dir).files.values(), *inventory.entries(settings.cache_dir).files.values()]
    taken = inventory.disk_bytes(files)
    text = f"{console.size(taken)} taken of {console.size(settings.local_max_size)}, {console.size(free)} free on disk"
    if free < LITTLE_SPACE:
        yield Finding("space", WARNING, text, "kache gc --max-size SIZE makes room")
    elif taken > settings.local_max_size:
        yield Finding("space", WARNING, text, "kache gc says why it stays above its limit")
    elif settings.local_max_size - taken > free:
        yield Finding("space", WARNING, f"{text}: the disk is full before the store is", "lower cache.local_max_size")
    else:
        yield Finding("space", OK, text)


def check_executables(machine: Machine) -> Iterator[Finding]:
    """What the default of cache_executables costs: new target directories start with build scripts and proc macros."""
    settings = machine.settings
    if settings.cache_executables:
        yield Finding("executables", OK, "cached")
        return
    logged = history.read(settings.cache_dir).events if settings.cache_dir else []
    again = sum(str(event.get("reason", "")).startswith("executable") for event in logged)
    told = f"; {console.plural(again, 'time')} in what is logged" if again else ""
    text = "not cached, the default: build scripts, proc macros and programs are built anew in every target directory"
    yield Finding(
        "executables", OK, f"{text}{told}. KACHE_CACHE_EXECUTABLES=1 keeps them; 'kache bench' shows the times"
    )


def check_clock(directory: str) -> Iterator[Finding]:
    """Whether the machine's clock is set, and agrees with the file system's."""
    now = time.time()
    if now < EARLIEST_CLOCK:
        yield Finding(
            "clock", PROBLEM, f"the clock says {time.strftime('%Y-%m-%d', time.gmtime(now))}", "set the clock"
        )
        return
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(b"x")
        file.flush()
        behind = time.time() - os.fstat(file.fileno()).st_mtime
    if abs(behind) > CLOCK_TOLERANCE:
        text = f"the file system's clock differs from this machine's by {console.duration(abs(behind))}"
        yield Finding("clock", WARNING, text, "set both by the same time server")
    else:
        yield Finding("clock", OK, "set, and the file system agrees")


def check_package(machine: Machine) -> Iterator[Finding]:
    """Whether the package here is so large that its files are told apart by name and size only."""
    if not os.path.isfile(machine.cwd + "/Cargo.toml"):
        return
    try:
        large = inputs.is_large(machine.cwd, machine.cwd + "/target")
    except OSError:
        return
    if large:
        text = (
            f"{machine.cwd} has more than {inputs.MOST_FILES:,} files or {console.size(inputs.MOST_BYTES)}: "
            "of files that are no Rust sources, kache sees names and sizes only"
        )
        yield Finding("package", WARNING, text, "name what macros read in kache.toml's extra_inputs")


def check_extra_inputs(machine: Machine) -> Iterator[Finding]:
    """Whether each kache.toml below this directory can be used."""
    for directory in _with_file(machine.cwd, extra_inputs.FILE_NAME):
        found = extra_inputs.read(directory, "")
        if found is None:
            continue
        if found.error:
            yield Finding("extra inputs", PROBLEM, found.error, "until then this crate is compiled without the cache")
            continue
        for warning in found.warnings:
            yield Finding("extra inputs", WARNING, warning)
        if not found.warnings:
            named = f"{console.plural(len(found.patterns), 'pattern')}, {console.plural(len(found.files), 'file')}"
            yield Finding("extra inputs", OK, f"{found.file}: {named}")


def _with_file(top: str, name: str) -> Iterator[str]:
    """The directories of a workspace's crates that hold a file of that name: not deep, and in no target directory."""
    if not os.path.isfile(top + "/Cargo.toml"):
        return
    for base, directories, files in os.walk(top):
        deep = base[len(top) :].count("/") >= CRATE_DEPTH
        directories[:] = [] if deep else sorted(d for d in directories if d[0] != "." and not _is_cache(f"{base}/{d}"))
        if name in files:
            yield base


def _is_cache(directory: str) -> bool:
    return os.path.exists(f"{directory}/{TAG_NAME}") or os.path.basename(directory) in ("target", "node_modules")


def file_system(path: str) -> str:
    """The type of the file system that ``path`` lies in, "" where the system does not say."""
    if sys.platform == "linux":
        return _type_from_mountinfo(os.path.realpath(path), _read("/proc/self/mountinfo"))
    if sys.platform == "darwin":
        import subprocess

        said = subprocess.run(["/sbin/mount"], capture_output=True, text=True, timeout=20, check=False).stdout
        return _type_from_mount(os.path.realpath(path), said)
    return ""


def _type_from_mountinfo(path: str, text: str) -> str:
    """proc(5): the fifth field is the mount point, with blanks as octal escapes; the type follows the lone dash."""
    best = found = ""
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        point = fields[4].encode("utf-8", "surrogateescape").decode("unicode_escape").encode("latin-1", "replace")
        point_text = point.decode("utf-8", "surrogateescape")
        # The last mount on a point hides those before it.
        if _lies_in(path, point_text) and len(point_text) >= len(best):
            best, found = point_text, right.split(" ")[0]
    return found


def _type_from_mount(path: str, text: str) -> str:
    """``/dev/disk1s1 on /Volumes/x (apfs, local, journaled)``."""
    best = found = ""
    for line in text.splitlines():
        _, _, rest = line.partition(" on ")
        point, _, options = rest.rpartition(" (")
        if point and _lies_in(path, point) and len(point) >= len(best):
            best, found = point, options.split(",")[0].rstrip(")")
    return found


def _lies_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _ways(store: str, cwd: str) -> str:
    """How outputs will come back into a target directory here."""
    try:
        if os.stat(store).st_dev != os.stat(cwd).st_dev:
            return "this directory lies in another one: outputs are copied"
        return "libraries come back by hard link or reflink"
    except OSError:
        return ""


def _write_problem(directory: str) -> str:
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return str(error.strerror)
    return ""


def _existing(directory: str) -> str:
    while not os.path.isdir(directory) and directory != os.path.dirname(directory):
        if os.path.lexists(directory):
            break
        directory = os.path.dirname(directory)
    return directory


def _is_script(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


def _first_line(path: str) -> str:
    return _read(path).partition("\n")[0]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
