"""The names of what an invocation can come to, in the order reports show them.

Owns the vocabulary: one name serves the event, its counter, its log line and
the document. Knows nothing else of kache.
"""

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
}


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
