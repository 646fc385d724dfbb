"""A salt that kache made: its value, what went into it, and the memory of both.

Owns ``kache salt`` without options, which shells run at every entry: it imports nothing that a start has not. What an
environment resolves to, nix.py says; the other recipes and the comparison are salt_command's.
"""

import posix

from kachelib import config, memo, nix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Tuple

    Fields = List[Tuple[str, str]]


class Salt:
    """value: as it is printed. fields: what went into it, (tag, value) in order."""

    __slots__ = ("fields", "value")

    def __init__(self, value: str, fields: "Fields") -> None:
        self.value = value
        self.fields = fields


def main(arguments: "List[str]") -> int:
    """``kache salt`` without options. Where there is none, or a setting is wrong, the command says so."""
    if say():
        return 0
    from kachelib import cli

    return cli.main(arguments)


def say() -> bool:
    """Print the salt of this environment; False where there is none, or a setting is wrong, and nothing was printed."""
    environ = config.environment()
    here = posix.getcwd()
    settings = config.load(environ, (here,))
    found = of_environment(environ, here)
    if found is None or settings.problems:
        return False
    posix.write(1, found.value.encode() + b"\n")
    remember(found, settings.cache_dir)
    return True


def of_environment(environ: "Dict[str, str]", directory: str) -> "Optional[Salt]":
    """What the environment resolves to in ``directory`` (absolute); None where no tool comes from the Nix store."""
    found = nix.resolve(environ, directory)
    value = found.salt()
    return Salt(value, found.fields()) if value else None


def remember(salt: Salt, cache_dir: str) -> None:
    """Keep what went into a salt, so that ``--check`` can say later what has changed. cache_dir: "" keeps nothing."""
    if cache_dir and recall(salt.value, cache_dir) is None:
        text = "\0".join(part for field in salt.fields for part in field)
        memo.write(_path(salt.value, cache_dir), text.encode("utf-8", "surrogateescape"))


def recall(value: str, cache_dir: str) -> "Optional[Fields]":
    """What went into a salt; None where this cache has not seen it made."""
    body = memo.read(_path(value, cache_dir)) if cache_dir else None
    if body is None:
        return None
    parts = body.decode("utf-8", "surrogateescape").split("\0")
    return list(zip(parts[::2], parts[1::2]))


def _path(value: str, cache_dir: str) -> str:
    return memo.path_of(cache_dir + "/memo", "salt", value)
