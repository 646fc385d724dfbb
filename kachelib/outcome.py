"""The names of what an invocation can come to, in the order reports show them.

Owns the vocabulary: one name serves the event, its counter, its log line and
the document. Knows nothing else of kache.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Results of an invocation (design: "Words"). Events, reports and exit
# summaries use exactly these strings.
LOCAL_HIT = "local_hit"
PREFETCH_HIT = "prefetch_hit"
REMOTE_HIT = "remote_hit"
DUP = "dup"
MISS = "miss"
PASSTHROUGH = "passthrough"
ERROR = "error"
SKIPPED = "skipped"
# Of no compile: units put back before Cargo looked.
WARMED = "warmed"

RESULTS = (LOCAL_HIT, PREFETCH_HIT, REMOTE_HIT, DUP, MISS, PASSTHROUGH, ERROR, SKIPPED, WARMED)
HITS = (LOCAL_HIT, PREFETCH_HIT, REMOTE_HIT)

# Why a call was handed to the compiler as it is. Name -> what a person reads.
# The names are part of the event format.
REFUSALS = {
    "disabled": "kache is switched off (KACHE_DISABLED)",
    "excluded": "the source matches cache.exclude",
    "executable": "linked outputs are not cached unless cache_executables is on",
    "emit": "an --emit kind that is not cached",
    "emit_path": "--emit names an output path",
    "output_path": "-o names the output",
    "no_out_dir": "no --out-dir: the outputs' place is not known",
    "no_crate_name": "no --crate-name",
    "several_sources": "more than one source file",
    "stdin": "the source comes from standard input",
    "combined_options": "several short options in one argument",
    "argument_file": "an argument file that could not be read",
    "shell_argument_file": "an @shell: argument file",
    "crate_type": "a crate type that is not known",
    "staticlib": "a static library bundles crates that its arguments do not name",
    "lto": "link-time optimisation reads crates that the linker's arguments do not name",
    "split_debuginfo": "split debug information writes files beside the output",
    "save_temps": "the compiler was asked to keep or print intermediate results",
    "extern_without_path": "an --extern without a path that is not the compiler's own",
    "extern_missing": "an --extern file could not be read",
    "native_library": "a static library that was not found exactly once, or is a thin archive",
    "library_path": "a library path that holds crates of unknown origin",
    "input_argument": "a file that an argument names could not be read",
    "native_cpu": "target-cpu=native, and what that is here cannot be told",
    "target_json": "a target description that could not be read",
    "clippy_config": "a clippy configuration that could not be read, or a lint that looks at every package",
    "workspace_wrapper": "an unknown RUSTC_WORKSPACE_WRAPPER",
    "extra_inputs": "kache.toml could not be used",
    "config": "the configuration could not be read",
    "compiler": "the compiler could not be identified",
    "linker": "the linker could not be identified",
    "store": "the store could not be used",
    "sysroot": "--sysroot names libraries that the compiler's version does not identify",
    "link": "it links: there is no -c",
    "no_object": "the compiler was not asked for an object file",
    "language": "a language that is not cached",
    "unsupported_flag": "a flag that is not known; cc.extra_allowlist_flags can opt it in",
    "long_option": "a long spelling of an option that is known by its short one",
    "coverage": "coverage and profiles are files beside the object",
    "plugin": "a compiler plugin may read and write anything",
    "modules": "modules are files that no argument names",
    "precompiled_header": "a precompiled header stands for sources that are not read",
    "extra_output": "a flag that writes or prints more than the object and its depfile",
    "split_dwarf": "split debug information writes a file beside the object",
    "flag_reads_file": "a flag that names a file of its own",
    "search_path": "a flag that changes where headers are looked for in a way that is not modelled",
    "other_programs": "a flag that has other programs do the work",
    "command_line_recorded": "the object records the whole command line",
    "assembler": "an option that goes past the compiler's driver",
    "charset": "a character set in which sources cannot be searched for what moves an object",
    "offload": "code for an accelerator",
    "several_archs": "objects for more than one architecture",
    "output_file": "the output is a symlink, a special file, read-only or has other names",
    "long_command": "a command line so long that what kache adds might not fit",
    "malformed": "an option stands twice and asks for two things, or lacks its value",
    "no_depfile": "-MF, -MT, -MQ or -MP, but neither -MD nor -MMD",
    "option_variable": "a variable adds options to the command line (CL, _CL_, CCC_OVERRIDE_OPTIONS)",
    "dependency_variable": "a variable asks the compiler for dependencies (DEPENDENCIES_OUTPUT)",
    "debug_format": "clang-cl's debug information is not cached",
    "big_object": "clang-cl's -bigobj is not cached",
    "shown_includes": "clang-cl prints the headers that it reads",
}


class NotACompile:
    """A question to the compiler (a probe): it is executed, never cached, never counted."""

    __slots__ = ()


class Refusal:
    """A compile that is handed to the compiler. reason: a name of REFUSALS; detail: what in particular;
    plan: what is known of it (rustc.Plan, cc.Plan), if it was understood that far."""

    __slots__ = ("detail", "plan", "reason")

    def __init__(self, reason: str, detail: str = "", plan: "Any" = None) -> None:
        self.reason = reason
        self.detail = detail
        self.plan = plan

    def describe(self) -> str:
        """The refusal as events carry it: its name, and what in particular."""
        return self.reason + ": " + self.detail if self.detail else self.reason


class KacheError(Exception):
    """Base of what the commands report as one line and an exit code."""

    exit_code = 1


class UsageError(KacheError):
    """The command line is wrong."""

    exit_code = 2


class ConfigError(KacheError):
    """A configuration file or variable is wrong; the text names file, key and what is accepted."""

    exit_code = 2


class StoreError(KacheError):
    """The store cannot be used; the text names the path."""
