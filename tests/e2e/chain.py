"""Workspaces of small path crates that use each other as a graph says, and what why-miss says of their builds.

The value of a crate is its own number and those of its dependencies, so an edit of one changes what all above it are.
"""

import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Set

from tests.world import Cargo, Kache

# name -> names of the crates it uses
Uses = Mapping[str, Sequence[str]]

LINE: Uses = {"base": (), "mid": ("base",), "top": ("mid",), "app": ("top",)}


def manifest(name: str, uses: Sequence[str], more: str = "") -> str:
    head = f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n{more}[dependencies]\n'
    return head + "".join(f'{used} = {{ path = "../{used}" }}\n' for used in uses)


def source(name: str, uses: Sequence[str], number: int = 1) -> str:
    total = " + ".join([f"{number}u64", *(f"{used}::value()" for used in uses)])
    if name == "app":
        return f'fn main() {{ println!("{{}}", {total}); }}\n'
    return f"pub fn value() -> u64 {{ {total} }}\n"


def main_file(name: str) -> str:
    return f"{name}/src/{'main' if name == 'app' else 'lib'}.rs"


def workspace_of(uses: Uses) -> Dict[str, str]:
    """The files of a workspace; ``app`` is a program, all others are libraries."""
    files = {"Cargo.toml": f'[workspace]\nmembers = {json.dumps(list(uses))}\nresolver = "2"\n'}
    for name, used in uses.items():
        files[f"{name}/Cargo.toml"] = manifest(name, used)
        files[main_file(name)] = source(name, used)
    return files


def above(uses: Uses, names: Set[str]) -> Set[str]:
    """These crates and all that use them, directly or not."""
    found = set(names)
    for name, used in uses.items():
        if found.intersection(used):
            found.add(name)
    return found


class Builds:
    """A workspace that is built, edited and asked about. Executables are cached unless ``env`` says otherwise."""

    def __init__(self, cargo: Cargo, kache: Kache, ws: Path, env: Mapping[str, str]) -> None:
        self.cargo = cargo
        self.kache = kache
        self.ws = ws
        self.env = {"KACHE_CACHE_EXECUTABLES": "1", **env}

    def build(self, *arguments: str, **env: str) -> Set[str]:
        """Build; the names of the crates that were compiled."""
        run = self.cargo("build", *arguments, cwd=self.ws, env={**self.env, **env}).ok()
        return {str(event["crate_name"]) for event in run.events if event["result"] in ("miss", "dup")}

    def edit(self, name: str, text: str) -> None:
        (self.ws / name).write_text(text)

    def document(self, *arguments: str) -> Dict[str, Any]:
        found = json.loads(self.kache.run("why-miss", *arguments, "--json").ok().stdout)
        assert isinstance(found, dict)
        return found

    def roots(self) -> List[Dict[str, Any]]:
        """The roots of the last build."""
        found = self.document()["roots"]
        assert isinstance(found, list)
        return found

    def ways(self, crate: str) -> List[str]:
        """How each miss of a crate goes back to its roots, in words."""
        return [root["told"] for miss in self.document(crate)["misses"] for root in miss["roots"]]

    def said(self, *arguments: str) -> str:
        return self.kache.run("why-miss", *arguments).ok().stdout
