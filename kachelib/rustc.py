"""A rustc command line: what it asks for.

Owns the option tables and the parse into Plan, Refusal or NotACompile. Looks
at arguments only; of the file system it reads nothing but argument files
(``@path``). Knows the names of refusals.

Source of the options: ``rustc --help -v``, ``rustc -C help`` of 1.63 to 1.95,
and the command lines that Cargo's compiler module builds.
"""

from kachelib.outcome import NotACompile, Refusal
from kachelib.store import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional, Tuple, Union

# Options that take a value, in both spellings: --name=value and --name value.
WITH_VALUE = frozenset(
    "--allow --cap-lints --cfg --check-cfg --codegen --color --crate-name --crate-type --deny --diagnostic-width "
    "--edition --emit --env-set --error-format --explain --extern --forbid --force-warn --json --out-dir --print "
    "--remap-path-prefix --remap-path-scope --sysroot --target --warn".split()
)

# One letter, value joined or separate.
SHORT_WITH_VALUE = {
    "-A": "--allow",
    "-C": "--codegen",
    "-D": "--deny",
    "-F": "--forbid",
    "-L": "-L",
    "-W": "--warn",
    "-Z": "-Z",
    "-l": "-l",
    "-o": "-o",
}

# -O and -g are documented as aliases of these.
ALIASES = {"-O": "opt-level=3", "-g": "debuginfo=2"}

# Not a compile: rustc prints something and ends.
QUESTIONS = frozenset(("-vV", "-V", "-Vv", "--version", "-h", "--help", "--print", "--explain"))

EMIT_KINDS = frozenset(("dep-info", "metadata", "link"))
CRATE_TYPES = frozenset(("bin", "lib", "rlib", "dylib", "cdylib", "staticlib", "proc-macro"))
LIBRARY_ENDINGS = {
    "lib": (".rlib",),
    "rlib": (".rlib",),
    "dylib": (".so", ".dylib"),
    "cdylib": (".so", ".dylib"),
    "proc-macro": (".so", ".dylib"),
    "staticlib": (".a",),
}
LINKED_TYPES = frozenset(("bin", "dylib", "cdylib", "proc-macro"))

# Codegen options that name no file: anything else is looked at for paths.
PLAIN_CODEGEN = frozenset(
    "code-model codegen-units control-flow-guard debug-assertions debuginfo default-linker-libraries dwarf-version "
    "embed-bitcode extra-filename force-frame-pointers force-unwind-tables incremental inline-threshold "
    "instrument-coverage link-dead-code linker linker-flavor linker-plugin-lto lto metadata no-prepopulate-passes "
    "no-redzone no-vectorize-loops no-vectorize-slp opt-level overflow-checks panic prefer-dynamic relocation-model "
    "relro-level rpath soft-float split-debuginfo strip symbol-mangling-version target-cpu target-feature "
    "tune-cpu".split()
)

# These write or print more than the outputs that are modelled.
TELLTALE_UNSTABLE = tuple(
    "checksum-hash-algorithm dump emit-stack-sizes llvm-time-trace ls metrics-dir nll-facts no-link print profile "
    "remark-dir save-analysis self-profile time unpretty".split()
)

OFF = frozenset(("off", "no", "n", "false", "0"))


class Extern:
    """One --extern: its name, the options before it (``priv``, ``noprelude``), its path ("" for the compiler's own)."""

    __slots__ = ("name", "options", "path")

    def __init__(self, name: str, options: str, path: str) -> None:
        self.name = name
        self.options = options
        self.path = path


class Plan:
    """A compile that may be cached, as its arguments ask for it. Paths are as given, not absolute.

    options: (name, value) in the order of the command line, aliases resolved;
    codegen: the same for -C, by option name; library_paths: (kind, path);
    native_libraries: the values of -l. arguments: what rustc is given, with
    argument files expanded.
    """

    __slots__ = (
        "arguments",
        "codegen",
        "crate_name",
        "crate_types",
        "emit",
        "externs",
        "extra_filename",
        "incremental",
        "library_paths",
        "linked",
        "native_libraries",
        "options",
        "out_dir",
        "source",
        "target",
        "test",
    )

    def __init__(self, arguments: "List[str]") -> None:
        self.arguments = arguments
        self.options: "List[Tuple[str, str]]" = []
        self.codegen: "List[Tuple[str, str]]" = []
        self.externs: "List[Extern]" = []
        self.library_paths: "List[Tuple[str, str]]" = []
        self.native_libraries: "List[str]" = []
        self.crate_types: "List[str]" = []
        self.emit: "List[str]" = []
        self.crate_name = ""
        self.extra_filename = ""
        self.incremental = ""
        self.out_dir = ""
        self.source = ""
        self.target = ""
        self.test = False
        self.linked = False

    def last_codegen(self, name: str) -> "Optional[str]":
        """The value that counts of a codegen option: the last one; "" where it has none, None where it is not given."""
        found = None
        for key, value in self.codegen:
            if key == name:
                found = value
        return found

    def output_stem(self) -> str:
        """What the names of all outputs contain: crate name and extra filename."""
        return self.crate_name + self.extra_filename

    def output_names(self) -> "List[str]":
        """The base names of all files that rustc may write for this plan, as on Linux and macOS."""
        stem = self.output_stem()
        names = [stem + ".d"] if "dep-info" in self.emit else []
        if "metadata" in self.emit:
            names.append("lib" + stem + ".rmeta")
        if "link" in self.emit or not self.emit:
            for crate_type in self.crate_types or ["bin"]:
                names += ["lib" + stem + ending for ending in LIBRARY_ENDINGS.get(crate_type, ())]
            if self.test or not self.crate_types or "bin" in self.crate_types:
                names.append(stem)
        return names

    def depinfo_name(self) -> str:
        """The base name of the dep-info file."""
        return self.output_stem() + ".d"


def parse(arguments: "List[str]") -> "Union[Plan, Refusal, NotACompile]":
    """Understand what follows the compiler's name on a command line."""
    expanded = _expand_argument_files(arguments)
    if isinstance(expanded, Refusal):
        return expanded
    plan = Plan(expanded)
    sources: "List[str]" = []
    index = 0
    while index < len(expanded):
        word = expanded[index]
        index += 1
        if word == "--":
            sources += expanded[index:]
            break
        if word in QUESTIONS:
            return NotACompile()
        if not word.startswith("-") or word == "-":
            sources.append(word)
            continue
        name, value = word, ""
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            takes_next = not equals and name in WITH_VALUE
        else:
            short = SHORT_WITH_VALUE.get(word[:2])
            if short is not None:
                name, value = short, word[2:]
            takes_next = short is not None and not value
        if takes_next:
            if index == len(expanded):
                return NotACompile()
            value = expanded[index]
            index += 1
        if name in ("--print", "--explain"):
            return NotACompile()
        _note(plan, name, value)
    return _judge(plan, sources)


def _note(plan: Plan, name: str, value: str) -> None:
    """Put one option where it belongs."""
    if name in ALIASES:
        name, value = "--codegen", ALIASES[name]
    if name == "--codegen":
        key, _, setting = value.partition("=")
        key = key.replace("_", "-")
        plan.codegen.append((key, setting))
        if key == "extra-filename":
            plan.extra_filename = setting
        elif key == "incremental":
            plan.incremental = setting
        return
    if name == "--extern":
        left, equals, path = value.partition("=")
        options, _, crate = left.rpartition(":")
        plan.externs.append(Extern(crate, options, path if equals else ""))
        return
    if name == "-L":
        kind, equals, path = value.partition("=")
        known = equals and kind in ("dependency", "crate", "native", "framework", "all")
        plan.library_paths.append((kind, path) if known else ("all", value))
        return
    if name == "-l":
        plan.native_libraries.append(value)
        return
    plan.options.append((name, value))
    if name == "--crate-name":
        plan.crate_name = value
    elif name == "--crate-type":
        plan.crate_types += value.split(",")
    elif name == "--emit":
        plan.emit += value.split(",")
    elif name == "--out-dir":
        # rustc joins names to it without doubling the slash.
        plan.out_dir = value.rstrip("/") or value[:1]
    elif name == "--target":
        plan.target = value
    elif name == "--test":
        plan.test = True


def _judge(plan: Plan, sources: "List[str]") -> "Union[Plan, Refusal, NotACompile]":
    """Whether the options, taken together, are a compile that is modelled."""
    if plan.crate_name == "___":
        return NotACompile()
    refusal = _refusal(plan, sources)
    if refusal is not None:
        refusal.plan = plan
        return refusal
    plan.source = sources[0]
    if not plan.crate_types:
        plan.crate_types = ["bin"]
    plan.linked = "link" in plan.emit and (plan.test or not LINKED_TYPES.isdisjoint(plan.crate_types))
    if plan.linked and plan.last_codegen("lto") not in (None, "off", "no", "n", "thin-local"):
        return Refusal("lto", plan=plan)
    return plan


def _refusal(plan: Plan, sources: "List[str]") -> "Optional[Refusal]":
    if "-" in sources:
        return Refusal("stdin")
    if len(sources) != 1:
        return Refusal("several_sources", " ".join(sources[:3]))
    if not plan.crate_name:
        return Refusal("no_crate_name")
    if not plan.out_dir:
        return Refusal("no_out_dir")
    for kind in plan.emit:
        if "=" in kind:
            return Refusal("emit_path", kind)
        if kind not in EMIT_KINDS:
            return Refusal("emit", kind)
    # Without dep-info nothing says what was read.
    if "dep-info" not in plan.emit or len(plan.emit) < 2:
        return Refusal("emit", ",".join(plan.emit))
    for crate_type in plan.crate_types:
        if crate_type not in CRATE_TYPES:
            return Refusal("crate_type", crate_type)
    if "staticlib" in plan.crate_types and "link" in plan.emit and any(extern.path for extern in plan.externs):
        return Refusal("staticlib")
    for name, value in plan.options:
        if name[:2] in ("-g", "-O", "-v") and len(name) > 2:
            # -gClto=fat: a flag, and an option behind it
            return Refusal("combined_options", name)
        if name == "-o":
            return Refusal("output_path", value)
        if name == "--sysroot":
            return Refusal("sysroot", value)
        if name == "-Z" and value.replace("_", "-").startswith(TELLTALE_UNSTABLE):
            return Refusal("save_temps", "-Z " + value)
    if plan.last_codegen("save-temps") is not None:
        return Refusal("save_temps", "-C save-temps")
    if plan.last_codegen("split-debuginfo") not in (None, "off") and not _keeps_debuginfo_inside(plan):
        return Refusal("split_debuginfo", plan.last_codegen("split-debuginfo") or "")
    return None


def _keeps_debuginfo_inside(plan: Plan) -> bool:
    """On Apple systems ``unpacked`` leaves a library's debug info in the .rlib's members; only linking splits it."""
    import sys

    apple = "-apple-" in plan.target or (not plan.target and sys.platform == "darwin")
    linked = "link" in plan.emit and (plan.test or not LINKED_TYPES.isdisjoint(plan.crate_types or ["bin"]))
    return apple and not linked


def _expand_argument_files(arguments: "List[str]") -> "Union[List[str], Refusal]":
    """Replace each @path by its lines, as rustc does: one argument a line, not recursive."""
    if not any(word.startswith("@") for word in arguments):
        return arguments
    out: "List[str]" = []
    for word in arguments:
        if word.startswith("@shell:"):
            return Refusal("shell_argument_file", word)
        if not word.startswith("@"):
            out.append(word)
            continue
        data = read_file(word[1:])
        if data is None:
            return Refusal("argument_file", word)
        try:
            lines = data.decode("utf-8").split("\n")
        except UnicodeDecodeError:
            return Refusal("argument_file", word)
        out += [line[:-1] if line.endswith("\r") else line for line in lines if line]
    return out


def split_command(argv: "List[str]") -> "tuple[List[str], List[str]]":
    """The compiler with what stands before its arguments: ``rustc``, or a workspace wrapper and ``rustc``."""
    if len(argv) > 1 and is_compiler(argv[1]) and not argv[1].startswith("-"):
        return argv[:2], argv[2:]
    return argv[:1], argv[1:]


def is_compiler(name: str) -> bool:
    """Whether an argument names rustc or a driver around it."""
    return name.rpartition("/")[2].startswith(("rustc", "clippy-driver"))
