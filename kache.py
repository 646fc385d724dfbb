"""The front door: a call of a compiler goes to the wrapper, anything else is a command."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List


def compiler_call(arguments: "List[str]") -> bool:
    """Whether these arguments (without the program) are a compile, as RUSTC_WRAPPER is called.

    A Rust compiler comes first, or behind a RUSTC_WORKSPACE_WRAPPER. No command of kache holds a slash, but the
    name of a crate may begin like the compiler's: ``kache why-miss rustc-hash``.
    """
    words = [*arguments[:3], "", "", ""]
    if "/" in words[0] or words[0].startswith(("rustc", "clippy-driver")):
        return True
    probes = ("-", "-vV", "-V", "--version")
    return words[1].rpartition("/")[2] == "rustc" and ("--crate-name" in arguments or words[2] in probes)


def main() -> int:
    """Do what the command line asks; returns the exit status."""
    arguments = sys.argv[1:]
    if compiler_call(arguments):
        from kachelib import wrapper

        return wrapper.main(arguments)
    from kachelib import cli

    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
