"""Which directories count as local for a C compile, and what is found of them in an object."""

import subprocess
from pathlib import Path
from typing import Callable, List, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kachelib import cc_collect, roots

parts = st.sampled_from(("a", "b", "ws", "ws-more", "home", "build"))
directories = st.lists(parts, min_size=1, max_size=4).map(lambda names: "/nowhere/" + "/".join(names))


@given(directories, directories, directories, st.lists(directories, max_size=2))
def test_no_root_lies_in_another(source: str, cwd: str, home: str, bases: List[str]) -> None:
    """Compilers differ in which of two nested maps they take."""
    found = roots.find_for_c(source + "/x.c", cwd, {"HOME": home}, bases)
    values = [value for _, value in found.values]
    for one in values:
        for other in values:
            assert one == other or not (one + "/").startswith(other + "/")
    for path in (source + "/x.c", cwd):
        normal = found.normalise(path)
        # A base directory inside the project goes before it.
        assert (normal.startswith("<") or bases) and found.localise(normal) == path


@given(directories, directories)
def test_a_path_that_only_begins_like_a_root_is_told_apart(root: str, path: str) -> None:
    found = roots.Roots({"source": root}, False, False)
    inside = (path + "/").startswith(root + "/")
    assert found.is_ambiguous(path) == (path.startswith(root) and not inside)


@pytest.mark.parametrize(
    ("files", "source", "top"),
    [
        (["p/.git/", "p/src/deep/x.c"], "p/src/deep/x.c", "p"),
        (["p/.git", "p/x.c"], "p/x.c", "p"),
        (["p/CMakeLists.txt", "p/src/CMakeLists.txt", "p/src/x.c"], "p/src/x.c", "p"),
        (["p/Makefile", "p/a/b/c/x.c"], "p/a/b/c/x.c", "p/a/b/c"),
        (["p/x.c"], "p/x.c", "p"),
        (["home/p/Makefile", "home/Makefile", "home/p/x.c"], "home/p/x.c", "home/p"),
    ],
)
def test_the_top_of_a_project(files: List[str], source: str, top: str, tmp_path: Path) -> None:
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_text("")
    directory = str((tmp_path / source).parent)
    assert roots.project(directory, str(tmp_path / "home")) == str(tmp_path / top)


PACKED = [(["-g"], False), (["-g", "-gz"], True), ([], False), (["-g", "-m32"], False)]


@pytest.mark.parametrize(("flags", "packed"), PACKED)
def test_compressed_sections_are_seen(
    flags: List[str], packed: bool, tmp_path: Path, require_tool: Callable[[str], Optional[str]]
) -> None:
    """A path in them cannot be found."""
    require_tool("gcc")
    (tmp_path / "x.c").write_text("int x(int y) { return y; }\n" + "".join(f"int v{n};\n" for n in range(200)))
    subprocess.run(["gcc", *flags, "-c", "x.c"], cwd=tmp_path, check=True)
    assert cc_collect.is_packed((tmp_path / "x.o").read_bytes()) == packed


def test_what_is_no_object_is_searched_as_it_is() -> None:
    assert not cc_collect.is_packed(b"BC\xc0\xde bitcode")
    assert cc_collect.is_packed(b"anything with .zdebug_info")
    assert cc_collect.is_packed(b"\x7fELF\x02\x01" + b"\xff" * 100), "a table that lies behind its end"
