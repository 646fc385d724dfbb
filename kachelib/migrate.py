"""Migration from sccache: where it is still named, and naming kache instead.

Owns what counts as a leftover of sccache, in Cargo's configuration and in the
shells' start files, and its cache directory. Every file that is changed is
backed up beside itself first.
"""

import os
import re
import shutil
import subprocess
from typing import Dict, List, NamedTuple, Optional

from kachelib import cargo_config, inventory
from kachelib.outcome import ConfigError, KacheError

BACKUP = ".before-kache"

SHELL_FILES = (
    ".bashrc",
    ".bash_profile",
    ".profile",
    ".zshrc",
    ".zshenv",
    ".zprofile",
    ".config/fish/config.fish",
)

# A whole line that only sets RUSTC_WRAPPER to sccache, by name, by path or by
# asking the shell for it; anything more is left to people.
_ASSIGNMENT = re.compile(
    r"""^(?P<head>\s*(?:export\s+|set\s+-(?:gx|xg|Ux|xU|x)\s+|set\s+-g\s+-x\s+)?(?:CARGO_BUILD_)?RUSTC_WRAPPER(?:=|\s+))
        (?P<value>(?P<quote>["']?)(?:\$\(|`|\()?(?:\s*(?:which|command\s+-v|type\s+-p)\s+)?[^\s"'`$();&|\#]*sccache(?:\)|`)?(?P=quote))
        (?P<tail>\s*;?\s*(?:\#.*)?)$""",
    re.VERBOSE,
)
_MENTION = re.compile(r"^(?!\s*#).*RUSTC_WRAPPER.*sccache")

# sccache keeps its files in directories named for hex digits.
_SCCACHE_ENTRY = re.compile(r"[0-9a-f]|preprocessor")


class Leftover(NamedTuple):
    """One place that names sccache. line: from 1; 0 for Cargo's configuration. text: what stands there.

    fixable: whether --fix can change it.
    """

    file: str
    line: int
    text: str
    fixable: bool

    def where(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


def leftovers(cargo_file: str, home: str) -> List[Leftover]:
    """Every place that names sccache as Cargo's wrapper."""
    found = []
    try:
        value = cargo_config.wrapper(cargo_config.read(cargo_file), cargo_file)
        if is_sccache(value):
            found.append(Leftover(cargo_file, 0, f'rustc-wrapper = "{value}"', True))
    except ConfigError:
        # doctor tells of a file that cannot be read in its own line.
        pass
    for name in SHELL_FILES if home else ():
        file = f"{home}/{name}"
        for number, line in enumerate(_lines(file), 1):
            if _MENTION.match(line):
                found.append(Leftover(file, number, line.strip(), _ASSIGNMENT.match(line.rstrip("\r\n")) is not None))
    return found


def fix(found: List[Leftover], program: str) -> List[str]:
    """Name ``program`` in place of sccache; returns what was done, one line each. Raises ConfigError."""
    done = []
    for file in dict.fromkeys(item.file for item in found if item.fixable):
        backup = back_up(file)
        if any(item.line == 0 for item in found if item.file == file):
            cargo_config.write(file, cargo_config.with_wrapper(cargo_config.read(file), program, file))
        else:
            cargo_config.write(file, "".join(_fixed(line, program) for line in _lines(file)))
        done.append(f"{file}: names kache now; as it was: {backup}")
    return done


def back_up(file: str) -> str:
    """Copy ``file`` beside itself under a name that is free; returns it. Raises ConfigError."""
    target = os.path.realpath(file)
    backup = target + BACKUP
    number = 1
    while os.path.lexists(backup):
        number += 1
        backup = f"{target}{BACKUP}-{number}"
    try:
        shutil.copy2(target, backup)
    except OSError as error:
        raise ConfigError(f"{backup}: {error.strerror}; nothing was changed") from None
    return backup


def is_sccache(value: str) -> bool:
    """Whether a wrapper's path or name is sccache's."""
    return os.path.basename(value) in ("sccache", "sccache.exe")


def cache_directory(environ: Dict[str, str], home: str, platform: str) -> str:
    """Where sccache keeps its files (its own defaults); "" where nobody knows."""
    if environ.get("SCCACHE_DIR"):
        return environ["SCCACHE_DIR"]
    if platform == "darwin":
        return home + "/Library/Caches/Mozilla.sccache" if home else ""
    base = environ.get("XDG_CACHE_HOME") or (home + "/.cache" if home else "")
    return base + "/sccache" if base else ""


def purge(directory: str, environ: Dict[str, str]) -> int:
    """Stop sccache's server and delete its cache; returns the bytes that were on disk. Raises KacheError."""
    if not directory or not os.path.isdir(directory):
        return 0
    problem = _not_a_cache(directory)
    if problem:
        raise KacheError(f"{directory}: {problem}; if it is sccache's, remove it by hand")
    _stop_server(environ)
    disk, _ = inventory.tree_bytes(directory)
    shutil.rmtree(directory, ignore_errors=True)
    if os.path.isdir(directory):
        raise KacheError(f"{directory}: could not be removed; who owns it?")
    return disk


def _not_a_cache(directory: str) -> str:
    """Why ``directory`` may be something else than sccache's cache; "" where it is one."""
    if os.path.islink(directory):
        return "is a symbolic link"
    strangers = [name for name in os.listdir(directory) if not _SCCACHE_ENTRY.fullmatch(name)]
    return f"holds {strangers[0]}, which is not sccache's" if strangers else ""


def _stop_server(environ: Dict[str, str]) -> None:
    program: Optional[str] = shutil.which("sccache", path=environ.get("PATH"))
    if program:
        try:
            subprocess.run([program, "--stop-server"], capture_output=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            pass


def _fixed(line: str, program: str) -> str:
    body = line.rstrip("\r\n")
    match = _ASSIGNMENT.match(body)
    if match is None:
        return line
    return match.group("head") + _shell_quote(program) + match.group("tail") + line[len(body) :]


def _shell_quote(text: str) -> str:
    import shlex

    return shlex.quote(text)


def _lines(file: str) -> List[str]:
    try:
        with open(file, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return stream.read().splitlines(keepends=True)
    except OSError:
        return []
