"""The action of a C or C++ compile: everything that is known before a source is read.

Owns the recipe of its action key, and which names of this place an object may hold. Knows plans, compilers, roots and
settings; not entries, nor what a compile read.
"""

from kachelib import cc, memo, nix, toolchain
from kachelib.cc import KEY
from kachelib.cc_toolchain import CLANG, GCC
from kachelib.key import Transcript
from kachelib.outcome import Refusal
from kachelib.roots import absolute, without_links

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Tuple

    from kachelib.cc import Plan
    from kachelib.cc_toolchain import Compiler
    from kachelib.config import Settings
    from kachelib.roots import Roots

# Raise whenever the recipe of a key or the bytes that are stored change.
SCHEMA = "kache-cc-10"

# What moves an object without being on the command line (GCC manual, "Environment Variables Affecting GCC"; Clang: the
# same for its include paths). Directories are normalised.
PATH_VARIABLES = ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH", "INCLUDE", "EXTERNAL_INCLUDE")
SYSTEM_VARIABLES = ("C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH")
SYSTEM_KINDS = ("system", "after")
VARIABLES = ("SOURCE_DATE_EPOCH", "GCC_EXEC_PREFIX", "COMPILER_PATH", "SDKROOT", "MACOSX_DEPLOYMENT_TARGET",
             "IPHONEOS_DEPLOYMENT_TARGET", "TVOS_DEPLOYMENT_TARGET", "WATCHOS_DEPLOYMENT_TARGET",
             "XROS_DEPLOYMENT_TARGET", "DRIVERKIT_DEPLOYMENT_TARGET",
             # where Clang finds the headers of a target, and what it makes for one
             "VCToolsInstallDir", "VCINSTALLDIR", "WindowsSdkDir", "UniversalCRTSdkDir", "SCE_ORBIS_SDK_DIR",
             "SCE_PROSPERO_SDK_DIR", "NCC_C_INCLUDE_PATH", "NCC_CPLUS_INCLUDE_PATH", "OBJECT_MODE",
             # of diagnostics alone
             "GCC_COLORS", "GCC_EXTRA_DIAGNOSTIC_OUTPUT", "GCC_URLS", "TERM_URLS")  # fmt: skip
# These have the compiler write a file more.
DEPENDENCY_VARIABLES = (
    "DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES", "CC_PRINT_HEADERS", "CC_PRINT_OPTIONS", "CC_PRINT_PROC_STAT",
    "CC_LOG_DIAGNOSTICS",
)  # fmt: skip
# These add options that no command line shows; the first two are clang-cl's.
OPTION_VARIABLES = ("CL", "_CL_", "CCC_OVERRIDE_OPTIONS", "GCC_COMPARE_DEBUG", "RC_DEBUG_OPTIONS")

# Options whose value begins with a directory that the compiler is to map, or to take for its own.
MAPPING_OPTIONS = ("-ffile-prefix-map=", "-fdebug-prefix-map=", "-fmacro-prefix-map=")
DIRECTORY_OPTIONS = ("-fdebug-compilation-dir=", "-ffile-compilation-dir=", "--gcc-toolchain=")

# Which locale messages are in, in the order in which it is looked for.
MESSAGES = ("LC_ALL", "LC_MESSAGES", "LANG")
CHARSET = ("LC_ALL", "LC_CTYPE", "LANG")

# Clang takes an assembler of many names from PATH.
OTHER_ASSEMBLER = ("-fno-integrated-as", "-no-integrated-as")
# Debug information of these has the whole command line, with names of this place.
MICROSOFT_TARGET = ("-msvc", "-win32", "-windows", "-uefi")
CHARSET_OPTION = "-finput-charset="
# Where what a source says can be searched for.
ASCII_LIKE = ("utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1")

COLOURS, PLAIN = "+", "-"


class Action:
    """A compile as asked for, with its key.

    maps: the flags to inject; left: names of roots that the command line maps itself; bound: there are no maps, and
    nothing about this action is portable. coloured: diagnostics
    are wanted in colour.
    """

    __slots__ = ("bound", "coloured", "compiler", "cwd", "environ", "key", "left", "maps", "plan", "roots",
                 "started_ns", "transcript")  # fmt: skip

    def __init__(self, plan: "Plan", compiler: "Compiler", roots: "Roots", cwd: str, environ: "Dict[str, str]") -> None:
        self.plan = plan
        self.compiler = compiler
        self.roots = roots
        self.cwd = cwd
        self.environ = environ
        self.coloured = False
        self.transcript = Transcript()
        self.started_ns = memo.file_clock()
        self.key = ""
        self.bound = False
        self.maps: "List[str]" = []
        self.left: "List[str]" = []

    def output(self) -> str:
        """The absolute path of the object."""
        return absolute(self.plan.output, self.cwd)

    def depfile(self) -> str:
        """The absolute path of the depfile; "" where none is asked for."""
        return absolute(self.plan.depfile, self.cwd) if self.plan.depfile else ""

    def layout(self) -> str:
        """How diagnostics look here: in colour or not, in which language and charset."""
        locale = next((self.environ[name] for name in MESSAGES if self.environ.get(name)), "C")
        # The charset as well: quotes are ASCII's or not.
        charset = next((self.environ[name] for name in CHARSET if self.environ.get(name)), "C")
        language = locale.partition(".")[0]
        if language not in ("C", "POSIX"):
            # gettext looks at this one first
            language = self.environ.get("LANGUAGE", "") + "/" + language
        return (COLOURS if self.coloured else PLAIN) + language + "." + charset.partition(".")[2]

    def suits(self, layout: str) -> bool:
        """Whether what a candidate's compiler said, laid out so, is what this one would; colours can be taken out."""
        here = self.layout()
        return not layout or (layout[1:] == here[1:] and (layout[0] == COLOURS or here[0] == PLAIN))


def build(action: Action, settings: "Settings") -> "Optional[Refusal]":
    """Fill in the transcript and the key of ``action``; a Refusal where an input cannot be known."""
    for name in DEPENDENCY_VARIABLES:
        if name in action.environ:
            return Refusal("dependency_variable", name)
    for name in OPTION_VARIABLES[0 if action.plan.dialect != cc.DIALECT else 2 :]:
        if name in action.environ:
            return Refusal("option_variable", name)
    action.bound = not settings.cc_path_normalize or not action.compiler.maps
    action.left = [] if action.bound else _mapped_by_others(action)
    action.maps = [] if action.bound else action.roots.file_prefix_maps(action.left)
    if action.plan.dialect != cc.DIALECT:
        action.maps = ["/clang:" + flag for flag in action.maps]
    add = action.transcript.add
    add("schema", SCHEMA)
    add("compiler", action.compiler.text)
    add("language", action.plan.language)
    if action.plan.dialect != cc.DIALECT:
        add("dialect", action.plan.dialect)
    _add_place(action)
    _add_environment(action, settings)
    if action.plan.native:
        machine = toolchain.native_cpu()
        if not machine:
            return Refusal("native_cpu", "native")
        add("native cpu", machine)
    refusal = _add_words(action)
    if refusal is None:
        action.key = action.transcript.digest()
    return refusal


def _add_place(action: Action) -> None:
    add = action.transcript.add
    roots = action.roots
    if action.bound:
        for name, value in roots.values:
            add("place " + name, value)
        add("place cwd", action.cwd)
        # Debug information has this name of it, if it is one.
        if action.environ.get("PWD", action.cwd) != action.cwd:
            add("env PWD", action.environ["PWD"])
    else:
        # Their order follows from the lengths of paths and tells nothing more.
        for name, value in sorted(roots.by_name.items()):
            if name not in action.left:
                add("map", name)
            elif not _is_covered(action, value):
                add("place " + name, value)
        add("cwd", roots.normalise(action.cwd))
    add("source", _normal(action, action.plan.source))


def _mapped_by_others(action: Action) -> "List[str]":
    """The names of roots that the command line maps itself, them or what lies in them or around them: of two maps for
    a path, compilers take different ones."""
    olds = [old for _, old in _given_maps(action)]
    names = []
    for name, value in action.roots.values:
        for old in olds:
            if (value + "/").startswith(old + "/") or (old + "/").startswith(value + "/"):
                names.append(name)
                break
    return names


def _is_covered(action: Action, root: str) -> bool:
    """Whether the command line maps all that begins with a root, in debug information and in __FILE__."""
    for option, old in _given_maps(action):
        if option == MAPPING_OPTIONS[0] and (root + "/").startswith(old + "/"):
            return True
    return False


def _given_maps(action: Action) -> "List[Tuple[str, str]]":
    """(option, directory that it maps) of the command line's own."""
    found = []
    for _, word in action.plan.words:
        plain = word[len("/clang:") :] if word.startswith("/clang:") else word
        if plain.startswith(MAPPING_OPTIONS):
            option, _, value = plain.partition("=")
            found.append((option + "=", value.rpartition("=")[0].rstrip("/")))
    return found


def _add_environment(action: Action, settings: "Settings") -> None:
    add = action.transcript.add
    environ = action.environ
    toolchain.add_settings(action.transcript, settings, environ)
    for name in PATH_VARIABLES:
        if name in environ:
            add("env " + name, ":".join([_normal(action, place) for place in environ[name].split(":")]))
            if name in SYSTEM_VARIABLES and action.compiler.family == GCC:
                for place in environ[name].split(":"):
                    _add_canonical(action, place or ".")
    for name in VARIABLES:
        if name in environ:
            add("env " + name, environ[name])
    for name, value in nix.wrapper_variables(environ):
        add("env " + name, action.roots.normalise_text(value))


def _add_words(action: Action) -> "Optional[Refusal]":
    """The command line, in order; directories with placeholders, all else as it stands."""
    plan = action.plan
    add = action.transcript.add
    forced = set(plan.forced)
    for kind, word in plan.words:
        if word.startswith(CHARSET_OPTION) and word[len(CHARSET_OPTION) :].lower() not in ASCII_LIKE:
            return Refusal("charset", word)
        if plan.places and action.compiler.family == CLANG and word.endswith(MICROSOFT_TARGET):
            return Refusal("command_line_recorded", word)
        if word in OTHER_ASSEMBLER and action.compiler.family == CLANG:
            return Refusal("other_programs", word)
        add(kind, _normal(action, word) if kind != KEY and word in forced else _normal_option(action, word))
    for kind, directory in plan.search:
        if directory.startswith(("=", "$SYSROOT")):
            return Refusal("search_path", directory)
        add("search " + kind, _normal(action, directory))
        if kind in SYSTEM_KINDS and action.compiler.family == GCC:
            _add_canonical(action, directory)
    for option, directory in plan.directories:
        add(option, _normal(action, directory))
    for word in plan.user_allowed:
        add("cc_extra_flag", word)
    if plan.depfile:
        add("depfile", "%s%s" % ("MD" if plan.system_headers else "MMD", " MP" if plan.phony else ""))
    return None


def _add_canonical(action: Action, directory: str) -> None:
    """GCC calls the headers of a system directory by its name without links and "..", where that is the shorter one
    (libcpp, maybe_shorter_path)."""
    canonical = without_links(absolute(directory, action.cwd))
    if len(canonical) < len(directory):
        action.transcript.add("canonical", action.roots.normalise(canonical))


def _normal_option(action: Action, word: str) -> str:
    """An option; of those that name a directory for the compiler's own use, with a placeholder."""
    if word.startswith(MAPPING_OPTIONS):
        option, _, value = word.partition("=")
        old, _, new = value.rpartition("=")
        return option + "=" + _normal(action, old) + "=" + new
    if word.startswith(DIRECTORY_OPTIONS):
        option, _, value = word.partition("=")
        return option + "=" + _normal(action, value)
    return word


def _normal(action: Action, path: str) -> str:
    """An absolute path with its root as placeholder, else as it is spelled, for so the object has it; a relative one as
    it stands: it is looked up in ``cwd``."""
    return action.roots.normalise(path) if path.startswith("/") else path
