"""Cargo's question about a target: its answer, from a memo where that holds; and the moment to warm the target.

Cargo asks once for each target directory (with CARGO_CACHE_RUSTC_INFO=0, at every start), before it opens that. Owns
the order of things, and what an answer hangs on:

- the compiler, where its own file tells when it becomes another one and its version names what it was built from;
- all arguments, of which none may name a file;
- the environment, but for what says where and how Cargo and kache work;
- the processor, where an argument speaks of it;
- that there is no source to read: standard input is /dev/null.

An answer that came with a warning, or with a failure, is not kept. Cold: imported on this question alone.
"""

import posix
import sys

# The part of signal that costs no import; typeshed does not know it.
from _signal import SIGPIPE, SIGXFSZ  # type: ignore[import-not-found]

from kachelib import config, invocation, log, memo, toolchain
from kachelib.roots import exists
from kachelib.store import CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Sequence, Tuple

    from kachelib.invocation import Invocation

# Device numbers of /dev/null (Linux, Documentation/admin-guide/devices.txt).
NULL_DEVICE = (1, 3)

# Of a shell, of Cargo's choice of a directory, and of kache itself: no compiler reads these.
NOT_READ = (*invocation.SHELL_VARIABLES, "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "CARGO_CACHE_RUSTC_INFO")
NOT_READ_PREFIX = "KACHE_"

# Arguments that name no file, as long as their values have no slash and hold none of FILES_BY_NAME.
PLAIN = ("-", "-O", "-g")
WITH_VALUE = ("--crate-name", "--crate-type", "--target", "--cfg", "--check-cfg", "--cap-lints", "--edition", "-C",
              "--codegen", "-A", "-W", "-D", "-F", "--allow", "--warn", "--deny", "--forbid")  # fmt: skip
JOINED = ("-C", "-A", "-W", "-D", "-F")
FILES_BY_NAME = (".json", "profile-", "incremental")


class Compiler:
    """A compiler that answers while something else is done."""

    __slots__ = ("err", "out", "pid")

    def __init__(self, call: "Invocation") -> None:
        """Start it for ``call``. Raises OSError."""
        from kachelib.compile import environment

        argv = [*call.command, *call.arguments]
        self.out = posix.memfd_create("kache-stdout")
        self.err = posix.memfd_create("kache-stderr")
        self.pid = posix.posix_spawn(
            toolchain.resolve(argv[0], call.environ) or argv[0],
            argv,
            environment(),
            file_actions=[(posix.POSIX_SPAWN_DUP2, self.out, 1), (posix.POSIX_SPAWN_DUP2, self.err, 2)],
            # Python ignores these two, and a program inherits what is ignored.
            setsigdef=[SIGPIPE, SIGXFSZ],
        )

    def wait(self) -> "Tuple[int, bytes, bytes]":
        """(how it ended, as of waitpid; what it printed; what it said on standard error)."""
        status = posix.waitpid(self.pid, 0)[1]
        return status, _content(self.out), _content(self.err)


def answer(call: "Invocation", places: "Sequence[str]") -> int:
    """Answer Cargo, and before that put back what it would only build again. Returns the exit status, or becomes the
    compiler. Whatever of kache's own fails, Cargo goes on.

    places: at or below the workspace.
    """
    running = known = None
    kept_at = ""

    def start() -> None:
        nonlocal running
        running = Compiler(call) if known is None else None

    try:
        call.settings = config.load(call.environ, places)
        if sys.platform == "linux" and not (call.settings.disabled or call.settings.broken):
            from kachelib import warming

            kept_at = _memo_path(call)
            known = memo.read(kept_at) if kept_at else None
            warming.on_probe(call.command, call.environ, call.settings, places, start)
            if kept_at and running is None:
                start()
    except Exception as error:
        invocation.note_trouble(error)
    if known is not None:
        log.write_all(1, known)
        return 0
    if running is None:
        return invocation.execute([*call.command, *call.arguments])
    status, out, err = running.wait()
    log.write_all(2, err)
    log.write_all(1, out)
    if kept_at and status == 0 and not err:
        memo.write(kept_at, out)
    return invocation.end_like(status)


def _memo_path(call: "Invocation") -> str:
    """Where the memo of this question's answer lies; "" where an answer may hang on more than can be told."""
    if not call.settings.cache_dir or not _has_no_source() or not reads_nothing(call.arguments):
        return ""
    programs = [toolchain.resolve(name, call.environ) for name in call.command]
    if not all(program and toolchain.says_what_it_is(program) for program in programs):
        return ""
    memo_dir = call.settings.cache_dir + "/memo"
    tools = toolchain.identify(call.command, call.environ, memo_dir)
    # One that had to be asked what it is may be one that does not say, for which no memo is ever kept.
    if tools is None or tools.probes or _described_in_file(call, tools.sysroot):
        return ""
    words = [*map(_state, programs), tools.version, tools.driver, *call.command, "", *call.arguments, ""]
    for name, value in sorted(call.environ.items()):
        if name not in NOT_READ and not name.startswith(NOT_READ_PREFIX):
            words.append(name + "=" + value)
    if any("native" in word or "cpu" in word for word in call.arguments):
        words.append(toolchain.native_cpu())
    return memo.path_of(memo_dir, "target-probe", "\0".join(words))


def _has_no_source() -> bool:
    """Whether standard input, which the compiler was told to read, is empty for ever."""
    device = posix.fstat(0).st_rdev
    return (posix.major(device), posix.minor(device)) == NULL_DEVICE


def reads_nothing(arguments: "List[str]") -> bool:
    """Whether a compiler with these arguments answers out of itself: all are known, and none names a file."""
    value_expected = False
    for word in arguments:
        option, equals, value = word.partition("=")
        if "/" in word or word.startswith("@") or any(part in word for part in FILES_BY_NAME):
            return False
        if value_expected or word in PLAIN:
            value_expected = False
        elif option == "--print":
            if not equals or "=" in value:
                return False
        elif option in WITH_VALUE:
            value_expected = not equals
        elif not word.startswith(JOINED):
            return False
    return not value_expected


def _described_in_file(call: "Invocation", sysroot: str) -> bool:
    """Whether the description of a target may come from a file (rustc book, "Custom Targets")."""
    words = "=".join(call.arguments).split("=")
    named = [value for option, value in zip(words, words[1:]) if option == "--target"]
    return "RUST_TARGET_PATH" in call.environ or any(
        exists(sysroot + "/lib/rustlib/" + name + "/target.json") for name in named
    )


def _state(program: str) -> str:
    """Where a program lies in the end, and the state of its file. Raises OSError."""
    fd = posix.open(program, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.readlink("/proc/self/fd/%d" % fd) + "\n" + memo.identity(posix.fstat(fd)).decode()
    finally:
        posix.close(fd)


def _content(fd: int) -> bytes:
    """All of a file from its beginning; closes it."""
    parts = []
    offset = 0
    data = posix.pread(fd, CHUNK, 0)
    while data:
        parts.append(data)
        offset += len(data)
        data = posix.pread(fd, CHUNK, offset)
    posix.close(fd)
    return b"".join(parts)
