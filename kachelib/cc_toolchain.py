"""Which C compiler this is.

Owns finding the program behind a name, past every shim, and the memo of what it said of itself. Asking it (processes)
is cc_probe.py's, on a miss of the memo. May not know what is being compiled.
"""

import posix
import sys

from kachelib import memo, nix, toolchain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Optional

GCC = "gcc"
CLANG = "clang"

# Programs whose links stand in for compilers: one that is found by a link to one of these is none.
SHIMS = ("kache", "ccache", "sccache", "distcc", "icecc", "buildcache", "cachepot")

# Raise whenever other questions are asked.
MEMO_VERSION = "2"

# Longest chain of links that is followed.
MOST_LINKS = 20

# What makes a driver start another compiler or assembler than it says (GCC manual, "Environment Variables").
CHOICES = ("COMPILER_PATH", "GCC_EXEC_PREFIX", "GCC_ROOT", "CLANG_CONFIG_FILE_SYSTEM_DIR", "CLANG_CONFIG_FILE_USER_DIR")


class Compiler:
    """A compiler's identity. program: what to run; family: GCC or CLANG; text: all that tells it from others; maps: it
    knows -ffile-prefix-map; probes: processes that were started to find this out."""

    __slots__ = ("family", "maps", "probes", "program", "text")

    def __init__(self, program: str, family: str, text: str, maps: bool, probes: int) -> None:
        self.program = program
        self.family = family
        self.text = text
        self.maps = maps
        self.probes = probes


def resolve(name: str, environ: "Dict[str, str]") -> str:
    """The program behind a compiler's name, as it would be started; "" when there is none but shims."""
    if "/" in name:
        if not nix.is_program(name):
            return ""
        if not is_shim(name):
            return name
        name = name.rpartition("/")[2]
    for directory in environ.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":"):
        path = (directory or ".") + "/" + name
        if nix.is_program(path) and not is_shim(path):
            return path
    return ""


def is_shim(path: str) -> bool:
    """Whether a program is kache, or a link to a program that stands before compilers."""
    try:
        here, ours = posix.stat(path), posix.stat(sys.argv[0])
        if (here.st_ino, here.st_dev) == (ours.st_ino, ours.st_dev):
            return True
    except OSError:
        pass
    for _ in range(MOST_LINKS):
        try:
            target = posix.readlink(path)
        except OSError:
            return False
        path = target if target.startswith("/") else path.rpartition("/")[0] + "/" + target
        name = path.rpartition("/")[2]
        # kache-1.2: two of them would take each other's links for the compiler, for ever
        if name in SHIMS or name.startswith("kache"):
            return True
    return False


def identify(name: str, environ: "Dict[str, str]", memo_dir: str, content: bool) -> "Optional[Compiler]":
    """The identity of the compiler of that name; None where it cannot be had. content: by its programs' content.

    The memo holds as long as every program that was asked is unchanged.
    """
    program = resolve(name, environ)
    if not program:
        return None
    surroundings = "".join([key + "=" + environ[key] + "\n" for key in CHOICES if key in environ])
    # A driver behaves by the name it is called by.
    # PATH counts for a compiler that is named by its path as well: its assembler may be found there.
    subject = "\n".join([MEMO_VERSION, program, environ.get("PATH", ""), surroundings, str(content)])
    memo_path = memo.path_of(memo_dir, "cc", subject)
    body = memo.read(memo_path)
    if body is not None:
        states, _, rest = body.decode("utf-8", "surrogateescape").partition("\0\0")
        if toolchain.unchanged(states.split("\0")):
            family, maps, text = rest.split("\0")
            return Compiler(program, family, text, maps == "maps", 0)
    from kachelib import cc_probe

    return cc_probe.compiler(program, environ, memo_path, content)
