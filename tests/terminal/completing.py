"""What a shell has to offer of kache, by what kache itself prints; and kache as a shell finds it."""

import re
from typing import Dict, Set

from tests.world import Kache, World


def options_of(kache: Kache, command: str) -> Set[str]:
    """The options that a command's --help lists, by what it prints."""
    found: Set[str] = set()
    for line in kache.run(command, "--help").ok().stdout.splitlines():
        if re.match(r"  -", line):
            found.update(re.findall(r"(?:^|[ ,])(--?[a-z][a-z-]*)", line[2:].split("  ")[0]))
    return found


def on_path(world: World, kache: Kache) -> Dict[str, str]:
    """The environment with a program ``kache`` on PATH."""
    directory = world.root / "bin"
    directory.mkdir(exist_ok=True)
    if not (directory / "kache").exists():
        (directory / "kache").symlink_to(kache.path)
    return {**world.env, "PATH": f"{directory}:{world.env['PATH']}"}
