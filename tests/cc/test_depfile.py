"""Depfiles: read, and written again byte for byte as GCC and Clang write them, also for another place."""

import random
import subprocess
from pathlib import Path
from typing import Callable, Dict, List

import pytest

from kachelib import cc, depfile
from kachelib.cc_action import Action
from kachelib.cc_toolchain import CLANG, GCC, Compiler
from kachelib.roots import Roots

NAMES = ("a", "long name", "x$y", "h#h", "sub/dir", "back\\slash", "q" * 30, "w" * 61)
TARGETS: List[List[str]] = [
    [], ["-MP"], ["-MT", "t1 t2"], ["-MQ", "t$1", "-MT", "z$"], ["-MP", "-MT", "a" * 70, "-MT", "b" * 20],
    ["-MF", "f.d"], ["-MQ", "with blank", "-MQ", "x"],
]  # fmt: skip


def action(words: List[str], family: str, cwd: Path, roots: Dict[str, str]) -> Action:
    plan = cc.parse(words)
    assert isinstance(plan, cc.Plan), words
    return Action(plan, Compiler("", family, "", True, 0), Roots(roots, False, False), str(cwd), {})


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("seed", range(30))
def test_it_is_written_as_the_compiler_writes_it(
    compiler: str, seed: int, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    require_tool(compiler)
    rng = random.Random(seed)
    names = [f"{rng.choice(NAMES)}{number}.h" for number in range(rng.randrange(12))]
    (tmp_path / "o").mkdir()
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "m.c").write_text("".join(f'#include "{name}"\n' for name in names))
    output = rng.choice(["m.o", "o/" + "z" * rng.randrange(1, 80) + ".o", "we ird.o", "do$l.o"])
    source = rng.choice(["m.c", f"{tmp_path}/m.c"])
    words = ["-c", source, "-o", output, rng.choice(["-MD", "-MMD"]), *rng.choice(TARGETS)]
    if rng.random() < 0.2:
        words = ["-c", "m.c", "-o", output, "-Wp,-MD,f.d"]
    subprocess.run([compiler, *words], cwd=tmp_path, check=True)
    asked = action(words, CLANG if compiler == "clang" else GCC, tmp_path, {"source": str(tmp_path)})
    data = Path(asked.depfile()).read_bytes()
    stored = depfile.template(data, asked)
    assert stored is not None and str(tmp_path).encode() not in stored
    assert depfile.expand(stored, asked) == data


def test_a_depfile_in_no_known_style_is_none(tmp_path: Path) -> None:
    asked = action(["-c", "m.c", "-MD"], GCC, tmp_path, {})
    assert depfile.template(b"m.o: m.c a.h\n", asked) is not None
    for data in (b"m.o:  m.c a.h\n", b"m.o: m.c \\\n a.h\n", b"", b"m.o:\n", b"other.o: m.c\n"):
        assert depfile.template(data, asked) is None, data


def test_a_name_like_a_placeholder_is_none(tmp_path: Path) -> None:
    asked = action(["-c", "m.c", "-MD"], GCC, tmp_path, {"source": str(tmp_path)})
    assert depfile.template(b"m.o: m.c <source>/x.h\n", asked) is None
