"""Which compiler and which linker these are.

Owns resolving a compiler's name to the program that will run, and the memo of
what it said of itself. Asking it (a process) is probe.py's, on a miss of the
memo. May not know what is being compiled.
"""

import posix
import time

from kachelib import memo, nix
from kachelib.store import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Tuple

    from kachelib.key import Transcript
    from kachelib.settings import Settings

# What moves a linker's output without being on its command line (GCC manual,
# "Environment Variables Affecting GCC"; GNU ld manual, "Environment Variables"; lld's and Clang's sources); those of
# Nix's wrappers are in nix.py.
LINKER_ENVIRONMENT = ("CCC_OVERRIDE_OPTIONS", "COMPILER_PATH", "GCC_EXEC_PREFIX", "GNUTARGET", "LDEMULATION",
                      "LD_RUN_PATH", "LIBRARY_PATH", "LLD_REPRODUCE", "LLD_VERSION")  # fmt: skip

# Of /proc/cpuinfo on x86 and Arm: what compilers' host detection looks at.
CPU_FIELDS = ("vendor_id", "cpu family", "model", "stepping", "cache size", "flags", "CPU implementer", "CPU part",
              "Features")  # fmt: skip


class Toolchain:
    """A compiler's identity. program: what to run; version: all of ``-vV``; sysroot: absolute; driver: the same of
    clippy-driver, "" for rustc itself; probes: processes that were started to find this out."""

    __slots__ = ("driver", "probes", "program", "sysroot", "version")

    def __init__(self, program: str, version: str, sysroot: str, driver: str, probes: int) -> None:
        self.program = program
        self.version = version
        self.sysroot = sysroot
        self.driver = driver
        self.probes = probes

    def field(self, name: str) -> str:
        """One line of ``-vV``, such as "host" or "commit-hash"; "" when it is not there."""
        for line in self.version.split("\n"):
            if line.startswith(name + ": "):
                return line[len(name) + 2 :]
        return ""

    def standard_library_flag(self) -> str:
        """The remap flag that names the standard library as a toolchain without its sources does."""
        commit = self.field("commit-hash")
        if commit in ("", "unknown"):
            commit = self.field("release")
        return "--remap-path-prefix=" + self.sysroot + "/lib/rustlib/src/rust=/rustc/" + commit


def resolve(name: str, environ: "Dict[str, str]") -> str:
    """The program behind a compiler's name; "" when there is none.

    Past rustup's proxy, which costs more than a hit: with RUSTUP_TOOLCHAIN
    set, as rustup does for Cargo, the toolchain's directory is known.
    """
    path = name if "/" in name else find_program(name, environ)
    toolchain = environ.get("RUSTUP_TOOLCHAIN", "")
    if not path or not toolchain or not _is_rustup(path):
        return path
    if not toolchain.startswith("/"):
        home = environ.get("RUSTUP_HOME") or environ.get("HOME", "") + "/.rustup"
        toolchain = home + "/toolchains/" + toolchain
    real = toolchain + "/bin/" + path.rpartition("/")[2]
    return real if nix.is_program(real) else path


def find_program(name: str, environ: "Dict[str, str]") -> str:
    """Look ``name`` up on PATH; "" when it is not there."""
    for directory in environ.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":"):
        path = (directory or ".") + "/" + name
        if nix.is_program(path):
            return path
    return ""


def identify(command: "List[str]", environ: "Dict[str, str]", memo_dir: str) -> "Optional[Toolchain]":
    """The identity of ``command``: [rustc], or [clippy-driver, rustc]. None when it cannot be had."""
    program = resolve(command[0], environ)
    if not program:
        return None
    subject = program
    compiler = program
    if len(command) > 1:
        compiler = resolve(command[1], environ)
        if not compiler:
            return None
        subject += "\n" + compiler
    try:
        states = memo.identity(posix.stat(program)) + b"\n" + memo.identity(posix.stat(compiler))
    except OSError:
        return None
    path = memo.path_of(memo_dir, "toolchain", subject)
    body = memo.read(path)
    if body is not None:
        known, _, rest = body.partition(b"\0")
        if known == states:
            version, driver, sysroot = rest.decode("utf-8", "surrogateescape").split("\0")
            return Toolchain(program, version, sysroot, driver, 0)
    from kachelib import probe

    answer = probe.compiler(program, compiler, environ)
    if answer is None:
        return None
    if says_what_it_is(program) and says_what_it_is(compiler) and not probe.is_unnamed(answer.version):
        text = "\0".join((answer.version, answer.driver, answer.sysroot))
        memo.write(path, states + b"\0" + text.encode("utf-8", "surrogateescape"))
    return Toolchain(program, answer.version, answer.sysroot, answer.driver, answer.runs)


def linker(program: str, flags: "List[str]", environ: "Dict[str, str]", memo_dir: str) -> "Optional[str]":
    """The identity of the linker that a compile would run; None when it cannot be had.

    program: of ``-C linker``, or what the target's default is. flags: the
    ``-fuse-ld`` and ``-B`` words among the link arguments. The memo holds as
    long as every file that was asked is unchanged.
    """
    path = program if "/" in program else find_program(program, environ)
    if not path:
        return None
    surroundings = "".join(name + "=" + value + "\n" for name, value in linker_environment(environ))
    subject = "\n".join([path, *flags, environ.get("PATH", ""), surroundings])
    memo_path = memo.path_of(memo_dir, "linker", subject)
    body = memo.read(memo_path)
    if body is not None:
        files, _, text = body.decode("utf-8", "surrogateescape").partition("\0\0")
        if unchanged(files.split("\0")):
            return text
    from kachelib import probe

    before = time.time_ns()
    answer = probe.linker(path, flags, environ)
    if answer is None:
        return None
    states = [posix.stat(file) for file in answer.files]
    # What was replaced while it was asked has a time after ``before``.
    plain = [file for file, state in zip(answer.files, states) if state.st_mode & 0o170000 != 0o040000]
    if not memo.is_racy(states, before) and all(says_what_it_is(file) for file in plain):
        words = [word for file, state in zip(answer.files, states) for word in (file, memo.identity(state).decode())]
        words += [word for file in answer.absent for word in (file, ABSENT)]
        memo.write(memo_path, ("\0".join(words) + "\0\0" + answer.text).encode("utf-8", "surrogateescape"))
    return answer.text


def linker_environment(environ: "Dict[str, str]", anywhere: bool = True) -> "List[Tuple[str, str]]":
    """The variables that move a linker's output, and their values; with ``anywhere`` as a link gets them whose output
    may be used in another place (compile.py), else as they are."""
    found = [(name, environ[name]) for name in LINKER_ENVIRONMENT if name in environ]
    if anywhere:
        return found + nix.wrapper_variables(environ)
    return found + [(name, environ[name]) for name in nix.variable_names(environ)]


def add_settings(transcript: "Transcript", settings: "Settings", environ: "Dict[str, str]") -> None:
    """Add what the settings put into every key: salts, and the variables that they name."""
    if settings.key_salt:
        transcript.add("salt", settings.key_salt)
    if settings.toolchain_salt:
        transcript.add("nix salt", settings.toolchain_salt)
    for name in settings.key_env_vars:
        transcript.add("env " + name, "=" + environ[name] if name in environ else "unset")


def native_cpu() -> str:
    """What ``native`` stands for on this machine; "" where that cannot be told."""
    for block in (read_file("/proc/cpuinfo") or b"").split(b"\n\n")[:1]:
        lines = [line for line in block.decode("utf-8", "replace").split("\n") if line.startswith(CPU_FIELDS)]
        return "\n".join(lines)
    return ""


# In place of an identity: no such file was there, and none must be.
ABSENT = "-"


def unchanged(states: "List[str]") -> bool:
    """Whether files are as they were; states: a path, then its identity (memo.identity), for each, or
    ABSENT."""
    for path, known in zip(states[::2], states[1::2]):
        try:
            found = memo.identity(posix.stat(path)).decode()
        except (FileNotFoundError, NotADirectoryError):
            found = ABSENT
        except OSError:
            return False
        if found != known:
            return False
    return True


def _is_rustup(path: str) -> bool:
    """Whether ``path`` is rustup's proxy: a link to rustup, or a copy of it beside it."""
    directory = path.rpartition("/")[0]
    try:
        here, there = posix.stat(path), posix.stat(directory + "/rustup")
    except OSError:
        return False
    return here.st_ino == there.st_ino or here.st_size == there.st_size


def says_what_it_is(path: str) -> bool:
    """Whether a program's own metadata tells when it becomes another compiler.

    A script may hand over to anything, and so may rustup's proxy; only what
    lies in the Nix store is fixed whatever it is.
    """
    if path.startswith(nix.STORE + "/"):
        return True
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return False
    try:
        return posix.read(fd, 2) != b"#!" and not _is_rustup(path)
    finally:
        posix.close(fd)
