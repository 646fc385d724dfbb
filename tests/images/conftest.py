"""Fixtures of the image tests: the one file, for this platform and for all, and an empty root with it in /opt."""

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

from tests.conftest import missing
from tests.images.roots import Root, interpreters
from tests.world import REPOSITORY, World


@pytest.fixture(autouse=True)
def may_mount() -> None:
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "--net", "true"], check=False).returncode:
        missing("root, who may mount")


def build_file(path: Path, *options: str) -> Path:
    """What build_zipapp.py makes, compiled for every interpreter here."""
    command = [sys.executable, str(REPOSITORY / "build_zipapp.py"), "--output", str(path), *options]
    named: List[str] = [word for program in interpreters().values() for word in ("--python", program)]
    done = subprocess.run([*command, *named], capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file for this platform."""
    return build_file(tmp_path_factory.mktemp("file") / "kache")


@pytest.fixture(scope="session")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file for all platforms; its wheels come from the package registry."""
    return build_file(tmp_path_factory.mktemp("everywhere") / "kache", "--all-platforms")


@pytest.fixture
def uid() -> int:
    """A user and group that nobody has a name for."""
    return random.randrange(100_000, 2**31)


@pytest.fixture(params=["file", pytest.param("everywhere", marks=[pytest.mark.soak, pytest.mark.network])])
def root(request: pytest.FixtureRequest, world: World) -> Root:
    """Nothing but /opt/kache; with the file for all platforms in the soak."""
    made = Root(world.root / "image", world.root / "work")
    made.add(str(request.getfixturevalue(request.param)), "/opt/kache")
    return made
