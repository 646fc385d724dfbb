"""Running a C compiler: its arguments, its environment, what it says.

Owns the command that is run in place of the one that was asked for, and the preprocessor runs beside it. Cold. May not
know what becomes of the object.
"""

import posix

from kachelib import compile, depfile, nix
from kachelib.cc import DIALECT
from kachelib.cc_toolchain import CLANG
from kachelib.store import make_directories, read_file, remove

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Tuple

    from kachelib.cc_action import Action
    from kachelib.compile import Finished
    from kachelib.store import Store

# Languages that are not preprocessed: nothing but the source is read.
WITHOUT_HEADERS = ("assembler", "cpp-output", "c++-cpp-output")


def run(action: "Action", store: "Store") -> "Tuple[Finished, Optional[bytes]]":
    """Compile. Returns how that went, and a depfile that names all headers, None where there is none.

    Raises OSError where the compiler cannot be started.
    """
    plan = action.plan
    command = [action.compiler.program, *action.maps, *plan.arguments]
    # In clang-cl sources may stand last, behind "--"; elsewhere the last word on colours counts.
    where = len(command) if plan.dialect == DIALECT else 1
    command[where:where] = _colour(action)
    ours = ""
    if not plan.depfile and plan.language not in WITHOUT_HEADERS:
        ours = store.scratch("depfile")
        make_directories(store.root + "/memo")
        command[1:1] = _for_depfile(action, ours)
    finished = compile.run_plain(command, environment(action), store)
    try:
        if not ours:
            return finished, read_file(action.depfile()) if plan.depfile and plan.system_headers else None
        return finished, read_file(ours)
    finally:
        if ours:
            remove(ours)


def _for_depfile(action: "Action", path: str) -> "List[str]":
    """The options that have a compile write a depfile of all headers to ``path``."""
    if action.plan.dialect != DIALECT:
        return ["/clang:-MD", "/clang:-MF" + path, "/clang:-MTobject"]
    return ["-MD", "-MF", path, "-MT", "object"]


def all_headers(action: "Action", store: "Store") -> "Optional[bytes]":
    """The depfile with all headers, by a run of the preprocessor; None where that fails. What it says besides, the
    compile said too."""
    words = without_outputs(action.plan.arguments)
    return _output([action.compiler.program, *action.maps, *words, "-M", "-MT", "object"], action, store)[0]


def preprocessed(action: "Action", rule: str, store: "Store") -> "Optional[bytes]":
    """The preprocessed text, with line markers; None where that fails or anything was said. rule: where the depfile
    goes, as it was asked for, or one that names all headers."""
    plan = action.plan
    words = without_outputs(plan.arguments)
    words += ["-MMD" if plan.depfile and not plan.system_headers else "-MD", "-MF", rule]
    if plan.phony:
        words.append("-MP")
    for target in depfile.targets(action, depfile.STYLES[action.compiler.family][0]):
        words += ["-MT", target]
    text, said = _output([action.compiler.program, *action.maps, *words, "-E"], action, store)
    return None if said else text


def directives(action: "Action", store: "Store") -> "Optional[bytes]":
    """The preprocessed text with each #include that was obeyed, also of a file that was passed over, and what its macro
    stood for; None where that fails. For GCC (its manual, -dI)."""
    words = without_outputs(action.plan.arguments)
    return _output([action.compiler.program, *action.maps, *words, "-E", "-dI"], action, store)[0]


def _output(command: "List[str]", action: "Action", store: "Store") -> "Tuple[Optional[bytes], bool]":
    """What a command prints, None where it fails; and whether it said anything besides."""
    said: "List[bytes]" = []

    def start(out: int, err: int) -> int:
        actions = [(posix.POSIX_SPAWN_DUP2, out, 1), (posix.POSIX_SPAWN_DUP2, err, 2)]
        return posix.posix_spawn(command[0], command, environment(action), file_actions=actions)

    def keep(lines: bytes) -> bytes:
        said.append(lines)
        return b""

    finished, out = compile.watch(start, store, keep)
    try:
        posix.lseek(out, 0, 0)
        parts = []
        data = posix.read(out, 1 << 20)
        while data:
            parts.append(data)
            data = posix.read(out, 1 << 20)
    finally:
        posix.close(out)
    return b"".join(parts) if finished.status == 0 else None, bool(said)


def without_outputs(arguments: "List[str]") -> "List[str]":
    """A command line without -c, -o and all that makes a depfile."""
    kept: "List[str]" = []
    rest = iter(arguments)
    for word in rest:
        if word in ("-c", "-MD", "-MMD", "-MP") or word.startswith(("-Wp,-MD,", "-Wp,-MMD,")):
            continue
        if word[:3] in ("-MF", "-MT", "-MQ"):
            if len(word) == 3:
                next(rest, "")
            continue
        if word[:2] == "-o":
            if len(word) == 2:
                next(rest, "")
            continue
        kept.append(word)
        if word in TAKES_NEXT:
            kept.append(next(rest, ""))
    return kept


# Options whose next word is a value, which may look like one of those that are left out.
TAKES_NEXT = frozenset(
    "-D -U -A -I -iquote -isystem -idirafter -isysroot --sysroot -include -imacros -x -target --param -arch -L -l -T "
    "-z -u -Xlinker -Xclang -mllvm -Xpreprocessor -Xassembler -resource-dir -G -meabi -mthread-model".split()
)


def _colour(action: "Action") -> "List[str]":
    """What has the compiler speak in colour though it writes into a pipe."""
    if not action.coloured or action.plan.colour:
        return []
    return ["-fcolor-diagnostics"] if action.compiler.family == CLANG else ["-fdiagnostics-color=always"]


def environment(action: "Action") -> "Dict[bytes, bytes]":
    """What the compiler gets: what kache was given; where the object is for other places too, without what only this
    place's shell says, and with the working directory by its own name, not by a link's."""
    environ = compile.environment()
    if not action.bound:
        environ[b"PWD"] = action.cwd.encode("utf-8", "surrogateescape")
        for name, value in nix.linker_changes(action.environ):
            environ[name.encode()] = value.encode("utf-8", "surrogateescape")
    elif "PWD" in action.environ:
        # As it was given; a shell between has the same, or a name of the same directory where that was none.
        environ[b"PWD"] = action.environ["PWD"].encode("utf-8", "surrogateescape")
    return environ
