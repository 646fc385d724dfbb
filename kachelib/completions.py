"""``kache completions``: what a shell needs to complete kache's commands.

Owns the command and the reading of the command table and of each command's
parser: which options there are, and what kind of word goes where. How a shell
is told, shells.py knows.
"""

import argparse
import importlib
from typing import Dict, List, Tuple

from kachelib import console, index, shells
from kachelib.outcome import UsageError
from kachelib.settings import SETTINGS
from kachelib.shells import CRATE, DIRECTORY, FILE, WORD, Argument, Command, Option

# What a word is, by the name that --help gives it, and by its own where that says nothing. What is not here is a
# word that nobody can guess.
_BY_METAVAR = {"CRATE": CRATE, "FILE": FILE, "PATH": FILE, "DIR": DIRECTORY, "D": DIRECTORY, "KEY": "setting"}
_BY_NAME = {"crate_name": CRATE, "manifest_path": FILE, "paths": FILE, "path": FILE, "output": FILE, "root": DIRECTORY}

GENERAL = ("--help", "--version")


def run(argv: List[str]) -> int:
    """``kache completions``; returns the exit code."""
    parser = console.Parser(
        "completions",
        "Print a script that has a shell complete kache's commands, options and crates.\n"
        "docs/commands.md says where each shell looks for it.",
        "Exit codes: 0 done; 1 the store could not be read; 2 wrong use.",
    )
    parser.add_argument("shell", nargs="?", choices=sorted(shells.SCRIPTS), help="which shell")
    # What the scripts ask while somebody types.
    parser.add_argument("--crates", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.crates:
        with index.opened(console.store_directory(console.load_settings())) as view:
            print("\n".join(view.crates()))
        return 0
    if options.shell is None:
        raise UsageError("completions: which shell? give one of " + ", ".join(sorted(shells.SCRIPTS)))
    print(shells.SCRIPTS[options.shell](commands()), end="")
    return 0


def commands() -> List[Command]:
    """All of the command table, and ``help``."""
    # The table is the front end's own: nobody else may ask it.
    from kachelib import cli

    found = []
    for name, row in cli.COMMANDS.items():
        function = getattr(importlib.import_module("kachelib." + row.module), row.function)
        parser = console.parser_of(function)
        actions = _actions(parser) if parser else []
        options = tuple(_option(action) for action in actions if action.option_strings)
        arguments = tuple(_argument(action) for action in actions if not action.option_strings)
        found.append(Command(name, row.summary, options, arguments))
    names = tuple(command.name for command in found)
    asked = Argument("COMMAND", WORD, names, False)
    return [*found, Command("help", "what a command does", (), (asked,))]


def _actions(parser: argparse.ArgumentParser) -> List[argparse.Action]:
    """What may be given, without what --help hides; options of commands of commands are all of the outer one."""
    found: Dict[Tuple[str, ...], argparse.Action] = {}
    for action in parser._actions:
        if action.help == argparse.SUPPRESS:
            continue
        found.setdefault(tuple(action.option_strings) or (action.dest,), action)
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                for each in _actions(inner):
                    found.setdefault(tuple(each.option_strings) or (action.dest, each.dest), each)
    return list(found.values())


def _option(action: argparse.Action) -> Option:
    argument = _argument(action) if action.nargs != 0 else None
    text = (action.help or "").replace("%%", "%").partition(" (default")[0]
    return Option(tuple(action.option_strings), text, argument)


def _argument(action: argparse.Action) -> Argument:
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    kind = _BY_METAVAR.get(metavar) or _BY_NAME.get(action.dest, WORD)
    choices = tuple(str(choice) for choice in action.choices or ())
    if kind == "setting":
        kind, choices = WORD, choices or tuple(row.key or row.env for row in SETTINGS)
    many = action.nargs in ("*", "+", argparse.REMAINDER)
    return Argument(metavar, kind, choices, many)
