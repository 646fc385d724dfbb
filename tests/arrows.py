"""What a cache hit may load, by name: a new import on a hit is a decision and not an accident.

test_architecture.py holds the sources to it, a test of a real hit compares sys.modules with it.
"""

# Our modules that a hit loads: the wrapper and all that it imports before it knows of a miss.
HOT = frozenset(
    {
        "action",
        "config",
        "depinfo",
        "entry",
        "events",
        "extra_inputs",
        "glob_walk",
        "globs",
        "inputs",
        "invocation",
        "key",
        "log",
        "memo",
        "nix",
        "outcome",
        "replay",
        "roots",
        "rustc",
        "settings",
        "store",
        "toolchain",
        "wrapper",
    }
)

# The same of a C or C++ compile.
HOT_C = frozenset(
    {
        "cc",
        "cc_action",
        "cc_options",
        "cc_replay",
        "cc_toolchain",
        "cc_wrapper",
        "config",
        "depfile",
        "entry",
        "events",
        "globs",
        "inputs",
        "invocation",
        "key",
        "log",
        "memo",
        "nix",
        "outcome",
        "roots",
        "settings",
        "store",
        "toolchain",
    }
)

# What starts in well under a tenth of a millisecond under `python -I -S`; anything else costs a part of a whole hit.
HOT_MAY_IMPORT = frozenset({"_io", "_signal", "blake3", "errno", "gc", "marshal", "posix", "sys", "time"})

# Which hot modules open which cold ones, inside the function that needs them and never on a hit.
# The wrapper may open any: a miss, a refusal and the compiler itself lie behind it.
COLD_DOORS = {
    # a configuration file that changed has to be parsed
    "config": {"config_file"},
    "extra_inputs": {"config_file"},
    # becoming the compiler, and what only a trace shows
    "invocation": {"compile", "redact"},
    # a compiler that was never seen has to be asked
    "cc_toolchain": {"cc_probe"},
    "toolchain": {"probe"},
}
