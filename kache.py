"""The front door: a call of a compiler goes to its language's wrapper, anything else is a command."""

import sys

C_COMPILERS = ("cc", "c++", "g++", "clang", "clang++", "clang-cl")  # how their names end, without a version


def compiler_call(arguments: "list[str]") -> str:
    """Which wrapper these arguments (without the program) are for: "wrapper", "cc_wrapper"; "" for a command.

    A Rust compiler comes first, or behind a RUSTC_WORKSPACE_WRAPPER; the cc crate asks for a family by -E alone. No
    command holds a slash or ends like a compiler, but a crate may: ``kache why-miss rustc-hash``.
    """
    words = [*arguments[:3], "", "", ""]
    name = words[0].rpartition("/")[2].rstrip("-.0123456789")
    probes = ("-", "-vV", "-V", "--version")
    rust = "--crate-name" in arguments or words[2 if words[1].rpartition("/")[2] == "rustc" else 1] in probes
    if name.startswith(("rustc", "clippy-driver")) or (words[1].rpartition("/")[2] == "rustc" and rust):
        return "wrapper"
    if name.endswith(C_COMPILERS) or (words[0] == "-E" and words[1]):
        return "cc_wrapper"
    return "" if "/" not in words[0] else "wrapper" if rust else "cc_wrapper"


def main() -> int:
    """Do what the command line asks; returns the exit status."""
    door = compiler_call(sys.argv[1:])
    if door == "wrapper":
        from kachelib import wrapper as front
    elif door:
        from kachelib import cc_wrapper as front  # type: ignore[no-redef]
    elif sys.argv[1:] == ["salt"]:
        from kachelib import salt as front  # type: ignore[no-redef]
    else:
        from kachelib import cli as front  # type: ignore[no-redef]
    return front.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
