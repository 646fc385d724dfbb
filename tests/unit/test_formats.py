"""docs/formats.md says of each format what stands above its reader."""

import ast
from typing import List

import pytest

from tests.world import REPOSITORY

MODULES = ("entry", "units", "conditions", "memo", "pack", "transfer", "catalogue")


def blocks(text: str) -> List[str]:
    """The indented blocks of a docstring, a blank line within one kept."""
    found: List[List[str]] = [[]]
    for line in text.split("\n"):
        if line.startswith("    "):
            found[-1].append(line[4:])
        elif line.strip():
            found.append([])
        elif found[-1]:
            found[-1].append("")
    return ["\n".join(each).strip("\n") for each in found if each]


@pytest.mark.parametrize("name", MODULES)
def test_the_page_has_the_grammar(name: str) -> None:
    docstring = ast.get_docstring(ast.parse((REPOSITORY / "kachelib" / f"{name}.py").read_text())) or ""
    page = (REPOSITORY / "docs" / "formats.md").read_text()
    assert blocks(docstring), "the module has no grammar any more"
    for block in blocks(docstring):
        assert f"```\n{block}\n```" in page
