"""``kache config``: the editor on a terminal; for scripts get, set, unset, path and the whole table.

Owns the command lines and what they print. What a value may be is
config_value's, how a file's text is changed config_edit's, and how it is
written config_target's to know.
"""

import os
import sys
from typing import Dict, List, Mapping, Optional

from kachelib import config, config_edit, config_show, config_target, config_value, console
from kachelib.config_value import Written
from kachelib.outcome import KacheError, UsageError
from kachelib.redact import MASK
from kachelib.settings import SECONDS, Setting, Settings

_FILES = (
    "The configuration is TOML: the file that KACHE_CONFIG names, else the nearest .kache.toml upwards,\n"
    "else ~/.config/kache/config.toml. Environment variables win over it."
)

_VERBS = """\
on a terminal, without arguments: an editor for all settings; else:
  kache config get KEY             print the value that is in force
  kache config set KEY VALUE...    write it into the configuration file; of a list: one VALUE an item
  kache config unset KEY           take it out of the file
  kache config path                print which file that is
'kache config get --help' and so on tell more.
"""

_KEYS = "KEY: as in the file (cache.local_max_size), the environment variable, or the name that --json prints."

# A file that others write all the time is tried no more often.
_TRIES = 100


def run(arguments: List[str]) -> int:
    """``kache config``; returns the exit code."""
    verbs = {"get": _get, "set": _set, "unset": _unset, "path": _path}
    if arguments and arguments[0] in verbs:
        return verbs[arguments[0]](arguments[1:])
    parser = console.Parser("config", _VERBS, _FILES)
    parser.usage = "kache config [-h] [--show] [--json] [get|set|unset|path ...]"
    parser.add_argument("--show", action="store_true", help="print every setting, its value and where that comes from")
    parser.add_json()
    options = parser.parse_args(arguments)
    environ, here = config.environment(), console.current_directory()
    if not (options.show or options.json) and sys.stdin.isatty() and sys.stdout.isatty():
        from kachelib import config_editor

        return config_editor.edit(environ, here)
    settings = config.load(environ, (here,))
    print(config_show.show(settings, options.json))
    return 2 if settings.problems else 0


def _get(arguments: List[str]) -> int:
    parser = console.Parser(
        "config get",
        "Print the value of a setting that is in force: a list one item a line, sizes as in 20GiB.",
        _KEYS + "\nExit codes: 1 there is no value, or it is a secret and not printed; 2 there is no such setting.",
    )
    parser.add_argument("key", metavar="KEY")
    parser.add_argument("--origin", action="store_true", help="print where the value comes from instead")
    parser.add_json()
    options = parser.parse_args(arguments)
    row = config_value.find(options.key)
    settings = config.load(config.environment(), (console.current_directory(),))
    config.require(settings)
    value = getattr(settings, row.name)
    if options.json:
        console.print_json({"name": row.name, **config_show.described(row, settings)})
    elif options.origin:
        print(config.origin(settings, row.name))
    elif value in ("", ()):
        return 1
    elif row.secret:
        raise KacheError(
            f"{row.key or row.env} is set ({config.origin(settings, row.name)}); it is a secret and not printed"
        )
    else:
        print("\n".join(_lines(row, settings)))
    return 0


def _lines(row: Setting, settings: Settings) -> List[str]:
    value = getattr(settings, row.name)
    if isinstance(value, tuple):
        return list(value)
    shown = str(value) if row.kind == SECONDS else config_show.text_of(row, settings)
    if isinstance(value, str) and MASK in shown and MASK not in value:
        console.note(f"what may be a secret in {row.key} is printed as {MASK}")
    return [shown]


def _set(arguments: List[str]) -> int:
    parser = _writer(
        "set",
        "Write a setting into the configuration file that is in force, else into the user's, which is made.\n"
        "Everything else in the file stays as it is, comments included. Of a list, one VALUE is one item;\n"
        "or one VALUE is a TOML array: '[\"a\", \"b\"]', '[]' for none. Options come before KEY.",
        "KEY VALUE...",
    )
    # What stands behind the key is a value, even where it begins with a dash.
    end = next((i + 1 for i, word in enumerate(arguments) if not word.startswith("-")), len(arguments))
    options = parser.parse_args(arguments[:end])
    words = arguments[end:]
    if words[:1] == ["--"]:
        words = words[1:]
    row = _in_file(options.key)
    environ = config.environment()
    if not words:
        raise UsageError(f"config set: {row.key} needs a value; 'kache config unset {row.key}' takes it away")
    try:
        value = config_value.from_words(row, words, environ)
    except ValueError as error:
        given = config_value.public(row, " ".join(words))
        raise UsageError(f"config set: {row.key} {given!a}: {error}") from None
    return _write(options.where, row, value, environ)


def _unset(arguments: List[str]) -> int:
    parser = _writer(
        "unset",
        "Take a setting out of the configuration file that is in force. Exit code 1: it is not in there.",
        "KEY",
    )
    options = parser.parse_args(arguments)
    return _write(options.where, _in_file(options.key), None, config.environment())


def _path(arguments: List[str]) -> int:
    parser = console.Parser(
        "config path",
        "Print the configuration file that is in force, else the one that 'kache config set' would make.",
        "Exit code 1: that file does not exist.",
    )
    _add_where(parser)
    environ, here = config.environment(), console.current_directory()
    path = _chosen(parser.parse_args(arguments).where, environ, here)
    print(path)
    return 0 if os.path.exists(path) else 1


def _writer(verb: str, description: str, words: str) -> console.Parser:
    parser = console.Parser("config " + verb, description, _KEYS)
    parser.usage = f"kache config {verb} [-h] [--user | --project] {words}"
    parser.add_argument("key", metavar="KEY", help="which setting")
    _add_where(parser)
    return parser


def _add_where(parser: console.Parser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--user", action="store_const", const="user", dest="where", default="", help="~/.config/kache/config.toml"
    )
    which.add_argument(
        "--project", action="store_const", const="project", dest="where", help="the nearest .kache.toml, else one here"
    )


def _chosen(where: str, environ: Mapping[str, str], here: str) -> str:
    if where == "project":
        return config_target.project(here)
    if where == "user":
        return config_target.user(environ)
    return config_target.in_force(environ, here) or config_target.user(environ)


def _in_file(name: str) -> Setting:
    row = config_value.find(name)
    if not row.key:
        raise UsageError(f"config: {row.env} is not a setting of the file: set the environment variable")
    return row


def _write(where: str, row: Setting, value: Optional[Written], environ: Dict[str, str]) -> int:
    here = console.current_directory()
    path = _chosen(where, environ, here)
    before = config_target.in_force(environ, here)
    for turn in range(_TRIES):
        target = config_target.read(path)
        text = target.text
        if value is None and config_edit.value_of(text, row.key, path) is None:
            console.note(f"{row.key} is not set in {path}")
            return 1
        new = config_edit.changed(text, {row.key: value}, path)
        try:
            if new != text:
                config_target.write(target, new, private=row.secret)
            break
        except config_target.Changed:
            # Nobody looked at what was read: the change is made anew in what is there now.
            if turn == _TRIES - 1:
                raise
    said = "unset" if value is None else f"= {config_value.toml(config_value.public(row, value))}"
    print(f"{path}: {row.key} {said}")
    for line in config_target.effects((row,), path, before, config.load(environ, (here,))):
        console.note(line)
    return 0
