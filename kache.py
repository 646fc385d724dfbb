"""The front door: a call of a compiler goes to the wrapper, anything else is a command."""

import sys

C_COMPILERS = ("cc", "c++", "g++", "clang", "clang++", "clang-cl")  # how their names end, without a version


def compiler_call(arguments: "list[str]") -> bool:
    """Whether these arguments (without the program) are a compile, as RUSTC_WRAPPER is called.

    A Rust compiler comes first, or behind a RUSTC_WORKSPACE_WRAPPER; the cc crate asks the same program for a C
    compiler. No command holds a slash or ends like these, but a crate may: ``kache why-miss rustc-hash``.
    """
    words = [*arguments[:3], "", "", ""]
    name = words[0].rstrip("-.0123456789")
    if "/" in name or name.startswith(("rustc", "clippy-driver")) or name.endswith(C_COMPILERS):
        return True
    probes = ("-", "-vV", "-V", "--version")
    return words[1].rpartition("/")[2] == "rustc" and ("--crate-name" in arguments or words[2] in probes)


def main() -> int:
    """Do what the command line asks; returns the exit status."""
    arguments = sys.argv[1:]
    if compiler_call(arguments):
        from kachelib import wrapper

        return wrapper.main(arguments)
    if arguments == ["salt"]:
        from kachelib.salt import say

        if say():
            return 0
    from kachelib import cli

    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
