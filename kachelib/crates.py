"""The names of crates: what a package's compiles are called, which is not always its own name.

Owns asking Cargo for it: md-5 has a library md5, and a package has tests, examples and programs besides. Cold.
"""

from __future__ import annotations

import json
import os
import subprocess

from kachelib import config

TIMEOUT = 60.0

# With what is downloaded; else of the workspace's own packages alone, which needs nothing but their manifests.
QUESTIONS = (["--offline", "--locked"], ["--no-deps"])


def named(lock_file: str, packages: set[str], with_others: bool) -> set[str]:
    """The crates of a workspace's own packages, ``with_others`` those of all packages in its Cargo.lock as well.

    lock_file: its Cargo.lock; packages: their names, which count besides, as crates would be called by default. Where
    Cargo does not say, these are all.
    """
    found = {_crate(name) for name in packages}
    manifest = os.path.join(os.path.dirname(lock_file), "Cargo.toml")
    for words in QUESTIONS if with_others else QUESTIONS[1:]:
        answer = _ask(["cargo", "metadata", "--format-version=1", "--manifest-path", manifest, *words])
        if answer is not None:
            return found | {_crate(target["name"]) for each in answer["packages"] for target in each["targets"]}
    return found


def _crate(name: str) -> str:
    return name.replace("-", "_")


def _ask(command: list[str]) -> dict[str, list[dict[str, list[dict[str, str]]]]] | None:
    environ = {**config.environment(), "KACHE_DISABLED": "1"}
    try:
        done = subprocess.run(
            command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False
        )
        found = json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
    return found if isinstance(found, dict) and "packages" in found else None
