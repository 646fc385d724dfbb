"""``kache salt``: a value that changes when the Nix toolchain does, for KACHE_KEY_SALT.

Owns the command line, the recipes that ask Nix and the comparison with the salt that is set. What an environment
resolves to, nix.py says; what a closure is, nix_closure.py.
"""

import argparse
import hashlib
import os
import re
import subprocess
from typing import Dict, List, Tuple

from kachelib import config, console, nix, nix_closure, salt
from kachelib.outcome import KacheError, UsageError
from kachelib.redact import shown
from kachelib.salt import Salt
from kachelib.settings import Settings

NAME_PATHS = "'kache salt --check --closure PATH…'"
_ANOTHER_RECIPE = "{} is of another recipe; 'kache salt --check' alone compares it"

# As many digits as the recipe that people have in their shells: `nix eval --raw … | sha256sum | cut -c1-16`.
FLAKE_DIGITS = 16

_STORE_PATH = re.compile(re.escape(nix.STORE) + r"/[0-9a-z]{32}-[^/\s:\"']+")

Fields = List[Tuple[str, str]]


def run(argv: List[str]) -> int:
    """``kache salt``; returns the exit code."""
    options = _options(argv)
    settings = console.load_settings()
    environ = config.environment()
    if options.check:
        return _check(options, settings, environ)
    found = _compute(options, environ)
    if options.json:
        console.print_json(_document(found, environ))
        return 0
    print(found.value)
    if options.explain:
        print("\n".join(_explain(found, environ)))
    salt.remember(found, settings.cache_dir)
    return 0


def _options(argv: List[str]) -> argparse.Namespace:
    parser = console.Parser(
        "salt",
        "Print a value that changes when the Nix toolchain of this environment does: for KACHE_KEY_SALT.\n"
        "Without options: from what rustc, cargo, cc, c++, ld, mold, lld, the linkers that are configured and the\n"
        "variables of Nix's compiler wrappers resolve to. Nix need not be there.",
        "Exit codes: 0 printed, or the same; 1 no tool comes from the Nix store, or --check found a difference;\n"
        "2 wrong use.",
    )
    parser.add_argument(
        "--closure", nargs="*", metavar="PATH", help="from all that these paths (default: the tools) refer to"
    )
    parser.add_argument("--flake", metavar="REF", help="from what REF evaluates to, such as .#devShells.SYSTEM.default")
    parser.add_argument("--explain", action="store_true", help="also list what went in")
    parser.add_argument("--check", action="store_true", help="compare with the salt that is set; say what differs")
    parser.add_json()
    options = parser.parse_args(argv)
    if options.flake is not None and options.closure is not None:
        raise UsageError("salt: --flake and --closure are two recipes; take one")
    if options.flake == "":
        raise UsageError("salt: --flake needs a reference, such as .#devShells.x86_64-linux.default")
    return options


def _compute(options: argparse.Namespace, environ: Dict[str, str]) -> Salt:
    """The salt of the recipe that was asked for. Raises KacheError where there is none."""
    if options.flake is not None:
        return of_flake(options.flake)
    if options.closure is not None:
        return of_closure(options.closure, environ)
    return of_environment(environ)


def of_environment(environ: Dict[str, str]) -> Salt:
    """What the environment resolves to in the current directory. Raises KacheError outside of a Nix toolchain."""
    here = console.current_directory()
    found = salt.of_environment(environ, here)
    if found is None:
        tools = [f"{tool.name} is {tool.path}" for tool in nix.resolve(environ, here).tools if tool.path]
        instead = ", ".join(tools[:2]) or "none is on PATH"
        raise KacheError(
            f"salt: no tool comes from the Nix store ({instead}); enter the Nix shell first, or leave the salt unset"
        )
    return found


def of_closure(paths: List[str], environ: Dict[str, str]) -> Salt:
    """From the closure of ``paths``, or of the tools and variables here. Raises KacheError."""
    fields: Fields = []
    roots: Dict[str, None] = {}
    for path in paths:
        stores = nix.store_paths(os.path.abspath(path))[0]
        if not stores:
            raise KacheError(f"salt: {path} is not in the Nix store, nor a link into it")
        roots.update(dict.fromkeys(stores))
    if not paths:
        fields += of_environment(environ).fields
        for _, value in fields:
            roots.update(dict.fromkeys(_STORE_PATH.findall(value)))
    fields += [("closure", path) for path in nix_closure.closure(list(roots), environ)]
    return Salt(nix.digest(nix.CLOSURE_PREFIX, fields), fields)


def of_flake(reference: str) -> Salt:
    """The spec's recipe, checked: the beginning of the SHA-256 of an attribute's outPath. Raises KacheError."""
    found = evaluate(reference if reference.endswith(".outPath") else reference + ".outPath")
    return Salt(hashlib.sha256(found).hexdigest()[:FLAKE_DIGITS], [("outPath", os.fsdecode(found))])


def evaluate(attribute: str) -> bytes:
    """What Nix says an attribute is, a string. Raises KacheError."""
    command = ["nix", "--extra-experimental-features", "nix-command flakes", "eval", "--raw", attribute]
    try:
        # What Nix has to say, it says to the person who asked.
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    except OSError as error:
        raise KacheError(f"salt: nix cannot be run: {error.strerror}") from None
    if done.returncode:
        raise KacheError(f"salt: 'nix eval --raw {attribute}' ended with {done.returncode}; there is no salt")
    if not done.stdout.strip():
        raise KacheError(f"salt: 'nix eval --raw {attribute}' printed nothing, which would be everybody's salt")
    return done.stdout


def _check(options: argparse.Namespace, settings: Settings, environ: Dict[str, str]) -> int:
    """Compare with the salt that is set; says the outcome on standard output."""
    known = settings.key_salt
    if not known:
        if settings.toolchain_salt:
            print(f"no salt is set, and none is needed: cache.nix_salt folds in {settings.toolchain_salt}")
            return 0
        print('no salt is set; export KACHE_KEY_SALT="$(kache salt)" sets one')
        return 1
    if nix.is_hash_of_nothing(known):
        print(f"{known} is the hash of nothing: the command that computes the salt fails, and its output is empty")
        return 1
    if known.startswith(nix.FLAKE_PREFIX):
        return _check_flakes(known, options, settings, environ)
    closure = known.startswith(nix.CLOSURE_PREFIX)
    if not closure and not known.startswith(nix.PREFIX):
        if options.flake is None:
            print(f"{known} is not of 'kache salt', so there is nothing to compare it with;")
            print("--flake REF compares with a flake")
            return 1
    elif options.flake is not None or (options.closure is not None and not closure):
        print(_ANOTHER_RECIPE.format(known))
        return 1
    if closure and options.closure is None:
        if is_of_named_paths(known, settings.cache_dir):
            print(f"{known} is of the closure of paths that were named: {NAME_PATHS} compares it")
            return 1
        options.closure = []
    found = _compute(options, environ)
    if found.value == known:
        print(f"{known}: the same")
        salt.remember(found, settings.cache_dir)
        return 0
    print(f"{known} is set ({config.origin(settings, 'key_salt')}), but this environment gives {found.value}")
    print("\n".join(_differences(known, found, settings)))
    return 1


def is_of_named_paths(known: str, cache_dir: str) -> bool:
    """Whether a closure's salt was made on this machine, of PATHs instead of the tools; of which, nobody wrote down."""
    before = salt.recall(known, cache_dir)
    return before is not None and not any(tag.startswith("tool ") for tag, _ in before)


def _check_flakes(known: str, options: argparse.Namespace, settings: Settings, environ: Dict[str, str]) -> int:
    """The same for a salt that a flake's shell set: with what its shell is now, or with the tools that are here."""
    if options.closure is not None:
        print(_ANOTHER_RECIPE.format(known))
        return 1
    if options.flake is not None:
        lines = _moved(known, options.flake, environ)
        what = f"what the shell of {options.flake} has now: enter it anew"
    else:
        lines = [f"- {line}" for line in nix.stale(environ, known, nix.resolve(environ, console.current_directory()))]
        what = "of this environment: enter the shell anew"
        if not lines and not environ.get(nix.FLAKE_PATHS):
            print(f"{known} was made when a flake was evaluated, and this shell does not say of what")
            print(f"({nix.FLAKE_PATHS} is not set); {ask_flake()} compares with what the flake says now")
            return 1
    if not lines:
        print(f"{known}: the same")
        return 0
    print(f"{known} is set ({config.origin(settings, 'key_salt')}), but is not {what}")
    print("\n".join(lines))
    return 1


def ask_flake() -> str:
    """The command that compares with a flake, for the shell that most have on this machine."""
    here = os.uname()
    system = f"{here.machine.replace('arm64', 'aarch64')}-{here.sysname.lower()}"
    return f"'kache salt --check --flake .#devShells.{system}.default'"


def _moved(known: str, reference: str, environ: Dict[str, str]) -> List[str]:
    """What differs between a flake's salt and the one that its shell has now; nothing where they are the same."""
    now = evaluate(f"{reference}.KACHE_KEY_SALT").decode("ascii", "replace")
    if now == known:
        return []
    lines = [f"the flake gives {now}"]
    old = environ.get(nix.FLAKE_PATHS, "").split()
    if old:
        try:
            new = os.fsdecode(evaluate(f"{reference}.{nix.FLAKE_PATHS}")).split()
        except KacheError:
            # Another's shell; Nix has said so.
            return lines
        lines += [f"- {path}" for path in old if path not in new] + [f"+ {path}" for path in new if path not in old]
    return lines


def _differences(known: str, found: Salt, settings: Settings) -> List[str]:
    """What went into one salt and not into the other, where this machine has seen the old one made."""
    before = salt.recall(known, settings.cache_dir)
    if before is None:
        lines = ["what went into the one that is set is not known here: it was not made on this machine"]
        if known.startswith(nix.CLOSURE_PREFIX):
            lines.append(f"if it is of paths that were named, {NAME_PATHS} compares it")
        return lines
    lines = [f"- {_line(tag, value)}" for tag, value in before if (tag, value) not in found.fields]
    return lines + [f"+ {_line(tag, value)}" for tag, value in found.fields if (tag, value) not in before]


def _line(tag: str, value: str) -> str:
    return f"{tag}: {shown(tag, value)}".replace("\n", " -> ")


def _explain(found: Salt, environ: Dict[str, str]) -> List[str]:
    """A line for all that went in, and for each tool that did not, why."""
    lines = ["  " + _line(tag, value) for tag, value in found.fields]
    if any(tag.startswith("tool ") for tag, _ in found.fields):
        for tool in nix.resolve(environ, console.current_directory()).tools:
            if not tool.stores:
                why = f"{tool.path} is not from the Nix store" if tool.path else "is not on PATH"
                lines.append(f"  (not in it) tool {tool.name}: {why}")
    return lines


def _document(found: Salt, environ: Dict[str, str]) -> Dict[str, object]:
    tools = nix.resolve(environ, console.current_directory()).tools
    return {
        "salt": found.value,
        "fields": [{"tag": tag, "value": shown(tag, value)} for tag, value in found.fields],
        "tools": [{"name": tool.name, "path": tool.path, "store_paths": tool.stores} for tool in tools],
    }
