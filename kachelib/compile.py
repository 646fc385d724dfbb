"""Running the compiler: its arguments, its environment, its output as it comes.

Owns the child process. Cold: imported on a miss, so it keeps to modules that
cost nothing. May not know what becomes of the outputs.
"""

import errno
import posix
import sys
import time

# The part of signal that costs no import; typeshed does not know it.
from _signal import SIGPIPE, SIGXFSZ  # type: ignore[import-not-found]

from kachelib import link, log, memo, nix, replay
from kachelib.roots import absolute
from kachelib.store import CHUNK, make_directories, read_file, replace_file, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, Iterable, List, Optional, Tuple

    from kachelib.action import Action
    from kachelib.rustc import Plan
    from kachelib.store import Store

# A compiler that prints more than this is still heard in full, but not kept.
MOST_OUTPUT = 64 * 1024 * 1024

# What a shell between Cargo and kache changes: dash sets PWD, bash counts
# SHLVL and sets _.
SHELL_VARIABLES = (b"PWD", b"OLDPWD", b"SHLVL", b"_")

LONGEST_LINE = 1024 * 1024

PRINT_LINKER = "--print=link-args"

# The clock may be set while a compile runs; then no file's time can be
# compared with the compile's.
CLOCK_TOLERANCE = 0.05


class Finished:
    """A compile that ended. status: as of waitpid; stdout, stderr: bytes; link_arguments: the linker's command lines;
    started_ns: the file system's clock when it began; steady: nobody set the clock meanwhile; ms: how long it ran."""

    __slots__ = ("link_arguments", "ms", "started_ns", "status", "stderr", "stdout", "steady", "whole")

    def __init__(self, started_ns: int) -> None:
        self.started_ns = started_ns
        self.status = 0
        self.stdout = b""
        self.stderr = b""
        self.link_arguments: "List[bytes]" = []
        self.steady = True
        self.whole = True
        self.ms = 0


def extend_depinfo(action: "Action") -> None:
    """Name the declared extra inputs in the dep-info that rustc wrote. Raises OSError."""
    if action.extra is not None:
        path = action.out_dir() + "/" + action.plan.depinfo_name()
        data = read_file(path)
        if data is not None:
            replace_file(path, replay.with_extra_inputs(data, action))


def command_line(action: "Action", driver: "List[str]") -> "List[str]":
    """What to run: ``driver`` (what stands before rustc's arguments), our flags, and the call without incremental."""
    words = [action.toolchain.program, *driver[1:], *action.remap]
    skip = False
    arguments = action.plan.arguments
    for index, word in enumerate(arguments):
        if skip:
            skip = False
            continue
        following = arguments[index + 1] if index + 1 < len(arguments) else ""
        if word in ("-C", "--codegen") and following.startswith("incremental="):
            skip = True
        elif not word.startswith(("-Cincremental=", "--codegen=incremental=")):
            words.append(word)
    return words


def clear_outputs(plan: "Plan", cwd: str) -> None:
    """Remove what rustc would refuse to write to, or would write through: read-only files and symlinks.

    An earlier restore left the .rlib as the blob's own read-only inode.
    """
    if not plan.out_dir:
        return
    directory = absolute(plan.out_dir, cwd) + "/"
    for output in plan.output_names():
        try:
            mode = posix.lstat(directory + output).st_mode
            if mode & 0o170000 == 0o120000 or (mode & 0o170000 == 0o100000 and not mode & 0o200):
                posix.unlink(directory + output)
        except OSError:
            continue


def run(command: "List[str]", store: "Store", action: "Action") -> Finished:
    """Run rustc, forwarding its standard error line by line. Raises OSError when it cannot be started."""
    clear_outputs(action.plan, action.cwd)
    rewrite = (lambda lines: replay.localise(lines, action.roots)) if action.remap else None

    def start(out: int, err: int) -> int:
        return _spawn(command, out, err, store, action)

    finished, out = watch(start, store, rewrite)
    _say_output(out, finished, action if PRINT_LINKER in command else None)
    return finished


def run_plain(command: "List[str]", environ: "Dict[bytes, bytes]", store: "Store") -> Finished:
    """Run any compiler, with what it says forwarded as it comes. Raises OSError when it cannot be started."""
    finished, out = watch(lambda out, err: _start(command, environ, out, err), store, None)
    _say_output(out, finished, None)
    return finished


def watch(
    start: "Callable[[int, int], int]", store: "Store", rewrite: "Optional[Callable[[bytes], bytes]]"
) -> "Tuple[Finished, int]":
    """Run what ``start`` starts (given two descriptors, it returns the process) to its end, and forward its standard
    error. Returns that, and a descriptor of what it printed. rewrite: what is shown for lines; None shows them as they
    are."""
    _fill_standard_streams()
    out = _scratch(store)
    reader, writer = posix.pipe()
    finished = Finished(memo.file_clock())
    started = time.time()
    began = time.monotonic()
    try:
        pid = start(out, writer)
    except OSError:
        posix.close(reader)
        posix.close(out)
        raise
    finally:
        posix.close(writer)
    _forward(reader, finished, rewrite)
    posix.close(reader)
    finished.status = posix.waitpid(pid, 0)[1]
    elapsed = time.monotonic() - began
    finished.ms = int(elapsed * 1000)
    finished.steady = abs(time.time() - started - elapsed) < CLOCK_TOLERANCE
    return finished, out


def _fill_standard_streams() -> None:
    """Open what the caller closed of 0, 1 and 2: nothing else may get these numbers."""
    fd = posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)
    while fd <= 2:
        fd = posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)
    posix.close(fd)


def _say_output(out: int, finished: Finished, asked: "Optional[Action]") -> None:
    """Print the compiler's standard output, without the linker's call where that was our own question."""
    posix.lseek(out, 0, 0)
    parts = []
    data = posix.read(out, CHUNK)
    while data:
        parts.append(data)
        data = posix.read(out, CHUNK)
    posix.close(out)
    if not parts:
        return
    kept = []
    for line in b"".join(parts).splitlines(True):
        if asked is not None and link.is_linker_call(line, asked):
            finished.link_arguments.append(line)
        else:
            kept.append(line)
    finished.stdout = b"".join(kept)
    log.write_all(1, finished.stdout)


def _forward(reader: int, finished: Finished, rewrite: "Optional[Callable[[bytes], bytes]]") -> None:
    """Pass standard error on as whole lines: Cargo starts dependants on a line that announces metadata."""
    kept: "List[bytes]" = []
    pending: "List[bytes]" = []
    size = waiting = 0
    while True:
        data = posix.read(reader, 65536)
        end = data.rfind(b"\n") + 1
        # What is longer is no notification, and nobody waits for its end.
        if not end and data and waiting < LONGEST_LINE:
            pending.append(data)
            waiting += len(data)
            continue
        end = end or len(data)
        lines = b"".join([*pending, data[:end]])
        pending, waiting = [data[end:]], len(data) - end
        if lines:
            log.write_all(2, rewrite(lines) if rewrite is not None else lines)
            size += len(lines)
            if size <= MOST_OUTPUT:
                kept.append(lines)
        if not data:
            break
    finished.whole = size <= MOST_OUTPUT
    finished.stderr = b"".join(kept)


def _spawn(command: "List[str]", out: int, err: int, store: "Store", action: "Action") -> int:
    """Start rustc; where its arguments are too long for a command line, with them in a file."""
    environ = environment(action)
    try:
        return _start(command, environ, out, err)
    except OSError as error:
        if error.errno != errno.E2BIG:
            raise
    return _start(shortened(command, store), environ, out, err)


def _start(command: "List[str]", environ: "Dict[bytes, bytes]", out: int, err: int) -> int:
    """Start a compiler with every descriptor that we were given (the jobserver), and signals as a shell has them."""
    actions = [(posix.POSIX_SPAWN_DUP2, out, 1), (posix.POSIX_SPAWN_DUP2, err, 2)]
    return posix.posix_spawn(command[0], command, environ, file_actions=actions, setsigdef=[SIGPIPE, SIGXFSZ])


def shortened(command: "List[str]", store: "Store") -> "List[str]":
    """The command with its arguments in a file, where they are too long for a command line. gc removes the file."""
    path = store.scratch("arguments")
    first = 2 if command[1:2] and not command[1].startswith("-") else 1
    make_directories(store.root + "/memo")
    write_file(path, "\n".join(command[first:]).encode("utf-8", "surrogateescape"), 0o600)
    return [*command[:first], "@" + path]


def _scratch(store: "Store") -> int:
    """A file without a name, to catch the compiler's standard output."""
    if sys.platform == "linux":
        return posix.memfd_create("kache-stdout")
    path = store.scratch("stdout")
    fd = posix.open(path, posix.O_RDWR | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600)
    posix.unlink(path)
    return fd


def environment(action: "Optional[Action]" = None) -> "Dict[bytes, bytes]":
    """What the compiler gets: what kache was given, before a shell in between took its part.

    For an ``action`` that links, and whose output is for other places too,
    without what a Nix shell says of this place alone.

    dash drops variables whose names are no identifiers. Cargo's own are still
    to be seen in its process; those that a build script asked for
    (``cargo:rustc-env``), in its output; those of an ``[env]`` table, in
    Cargo's configuration.
    """
    environ = dict(posix.environ)
    try:
        _restore(environ)
    except Exception:
        # Nothing that goes wrong here is worth a build.
        pass
    if action is not None and action.plan.linked and not action.bound:
        for name, value in nix.linker_changes(action.environ):
            environ[name.encode()] = value.encode("utf-8", "surrogateescape")
    return environ


def _restore(environ: "Dict[bytes, bytes]") -> None:
    given = read_file("/proc/%d/environ" % posix.getppid()) if sys.platform == "linux" else None
    if given is not None:
        parent = dict(_pairs(given.split(b"\0")))
        # dash leaves another name of its directory: then the caller gave it, perhaps a shell that has moved there.
        given_name = environ.get(b"PWD", b"") != posix.getcwdb()
        for name in SHELL_VARIABLES:
            if name == b"PWD" and given_name:
                continue
            if name in parent:
                environ[name] = parent[name]
            else:
                environ.pop(name, None)
        _add_odd_names(environ, parent)
    _add_odd_names(environ, _configured())
    out_dir = environ.get(b"OUT_DIR", b"")
    output = read_file(out_dir.decode("utf-8", "surrogateescape").rpartition("/")[0] + "/output") if out_dir else None
    if output is not None and b"rustc-env=" in output:
        _add_odd_names(environ, dict(_pairs(line.partition(b"rustc-env=")[2] for line in output.split(b"\n"))))


def _configured() -> "Dict[bytes, bytes]":
    """The variables of the ``[env]`` tables that Cargo reads: above its working directory, then in CARGO_HOME."""
    found: "Dict[bytes, bytes]" = {}
    try:
        directory = posix.readlink("/proc/%d/cwd" % posix.getppid())
    except OSError:
        return found
    places = []
    while directory:
        places.append(directory + "/.cargo")
        directory = directory.rpartition("/")[0]
    home = posix.environ.get(b"HOME", b"") + b"/.cargo"
    places.append(posix.environ.get(b"CARGO_HOME", home).decode("utf-8", "surrogateescape"))
    for place in places:
        text = read_file(place + "/config.toml") or read_file(place + "/config")
        if text is not None and b"env" in text:
            from kachelib import cargo_config

            for name, value in cargo_config.variables(text, place).items():
                found.setdefault(name, value)
    return found


def _pairs(lines: "Iterable[bytes]") -> "List[Tuple[bytes, bytes]]":
    return [(line.partition(b"=")[0], line.partition(b"=")[2]) for line in lines if b"=" in line]


def _add_odd_names(environ: "Dict[bytes, bytes]", known: "Dict[bytes, bytes]") -> None:
    for name, value in known.items():
        text = name.decode("ascii", "replace")
        if name not in environ and name and not text.isidentifier():
            environ[name] = value
