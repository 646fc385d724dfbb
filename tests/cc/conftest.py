"""Fixtures of the C tests."""

from typing import Callable, Iterator

import pytest

from tests.cc.project import Project
from tests.world import Kache, World


@pytest.fixture
def project(world: World, kache_file: Kache, require_tool: Callable[[str], str]) -> Iterator[Project]:
    """A checkout with a source and its header, built in its top."""
    require_tool("gcc")
    found = Project.make(world, kache_file, "project")
    found.write({"src/main.c": MAIN, "inc/value.h": "#define VALUE 3\n"})
    yield found


MAIN = '#include "value.h"\nint value(void) { return VALUE; }\n'
