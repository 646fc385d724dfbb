"""A C project in two checkouts, and one compile of it: as kache does it, and as the compiler alone does.

Owns what a fresh compile is: the same command, at the same place, with the prefix maps that kache would give it.
"""

import os
import re
import resource
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import pytest

from kachelib import cc_action, roots
from tests.world import Kache, Run, World

COMPILE = ["-O1", "-Iinc", "-c", "src/main.c", "-o", "main.o"]
NAMES = ["main.o"]

# How the outputs of a compile are compared: name -> content, None where there is none.
Outputs = Dict[str, Optional[bytes]]


class Endless(Exception):
    """No compiler gets to an end: headers that include each other again and again, twice each time, or its crash."""


@dataclass
class Compiled:
    """What a compile came to."""

    status: int
    said: str
    outputs: Outputs
    result: str = ""
    reason: str = ""


@dataclass
class Project:
    """A checkout of a project; ``build`` is where the compiler runs, below ``base`` or not."""

    world: World
    kache: Kache
    base: Path
    build: Path
    env: Dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, world: World, kache: Kache, name: str, below: str = "") -> "Project":
        """A checkout, marked by version control; ``below`` is the build directory in it."""
        base = world.root / name
        (base / ".git").mkdir(parents=True)
        build = base / below if below else base
        build.mkdir(parents=True, exist_ok=True)
        return cls(world, kache, base, build)

    def write(self, files: Mapping[str, str]) -> None:
        """Write files, relative to the checkout."""
        for name, text in files.items():
            path = self.base / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def maps(self, source: str) -> List[str]:
        """The prefix maps that kache gives a compile of ``source`` here."""
        found = roots.find_for_c(source, str(self.build), {**self.world.env, **self.env}, ())
        return found.file_prefix_maps()

    def outputs(self, names: Sequence[str]) -> Outputs:
        """The outputs that are there, which are taken away."""
        found: Outputs = {}
        for name in names:
            path = self.build / name
            found[name] = path.read_bytes() if path.exists() else None
            path.unlink(missing_ok=True)
        return found

    def fresh(self, command: Sequence[str], names: Sequence[str], maps: bool = True) -> Compiled:
        """Compile without kache. names: of the outputs, relative to the build directory. Raises Endless."""
        source = next((word for word in command[1:] if not word.startswith("-") and word.endswith(SOURCES)), "")
        mapped = [word.partition("=")[2] for word in command if word.startswith(cc_action.MAPPING_OPTIONS)]
        own = [mapping.rpartition("=")[0] for mapping in mapped]
        ours = [flag for flag in self.maps(source) if flag.split("=")[1] not in own] if maps else []
        words = [command[0], *ours, *command[1:]]
        env = {**self.world.env, **self.env, "PWD": str(self.build)}
        before = processor_time()
        done = subprocess.run(
            words, cwd=self.build, env=env, capture_output=True, check=False, preexec_fn=limit_processor_time
        )
        if done.returncode and processor_time() - before > MOST_SECONDS - 1:
            raise Endless
        said = (done.stdout + done.stderr).decode("utf-8", "surrogateescape")
        if done.returncode and CRASHED.search(said):
            raise Endless
        return Compiled(done.returncode, said, self.outputs(names))

    def cached(self, command: Sequence[str], names: Sequence[str], trace: bool = False) -> Tuple[Compiled, Run]:
        """Compile through kache."""
        done = self.kache.run(*command, cwd=self.build, env=dict(self.env), trace=trace)
        event = done.events[-1] if done.events else {}
        found = Compiled(done.returncode, done.stdout + done.stderr, self.outputs(names))
        found.result, found.reason = str(event.get("result", "")), str(event.get("reason", ""))
        return found, done


CRASHED = re.compile("internal compiler error|PLEASE submit a bug report|PLEASE ATTACH")
# of processor time; no source of a test needs one
MOST_SECONDS = 20

SOURCES = (".c", ".cc", ".cpp", ".S", ".s", ".i")


def limit_processor_time() -> None:
    """For what this process becomes, and what that starts."""
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS + 1))


def processor_time() -> float:
    """Seconds that programs took which this process started."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def settle() -> None:
    """Wait until a file that is written now is older than a compile that begins: else it might be written during it."""
    marker = Path(os.environ.get("TMPDIR", "/tmp")) / f"kache-settle-{os.getpid()}"
    marker.write_text("")
    before = marker.stat().st_mtime_ns
    while True:
        marker.write_text("")
        if marker.stat().st_mtime_ns > before:
            marker.unlink()
            return


def twice(project: Project, *words: str) -> List[str]:
    """The results of two compiles; the objects have to be the same."""
    settle()
    first, _ = project.cached(words, NAMES)
    second, run = project.cached(words, NAMES, trace=True)
    assert first.outputs == second.outputs and first.status == second.status == 0, (first, second)
    compilers = [argv for argv in run.started if Path(argv[0]).name.startswith(("cc1", "clang", "gcc", "as"))]
    assert second.result != "local_hit" or not compilers
    return [first.result, second.result]


def check(project: Project, change: Callable[[], object], *words: str) -> None:
    """Compile twice, change something, and compare with a fresh compile."""
    names = ["main.o", "main.d"]
    settle()
    for _ in range(2):
        first, _ = project.cached(words, names)
        assert first.status == 0, first.said
    change()
    settle()
    found, _ = project.cached(words, names)
    fresh = project.fresh(words, names)
    assert (found.status, found.outputs) == (fresh.status, fresh.outputs), found
    assert found.said == fresh.said


# as it warns of what Clang sees in macros, and not in their text
SAYS_ITSELF = re.compile(r"warning:.*\[-W(?:error,-W)?tautological-compare\]")
# a file of the compiler's own, between it and its assembler
TEMPORARY = re.compile(r"/cc\w{6}\.s|-[0-9a-f]{6}\.s")


def compare(found: Compiled, expected: Compiled, told: str, root: Path) -> None:
    """Fail unless kache's compile came to what the compiler's did."""
    assert found.status == expected.status, told + found.said + expected.said
    if TEMPORARY.sub("", found.said) != TEMPORARY.sub("", expected.said):
        # A hit by the preprocessed text may lack a warning that is given where no macro says the same.
        warnings = [line for line in expected.said.splitlines() if "warning:" in line]
        lacks = found.result == "local_hit" and not found.said and all(map(SAYS_ITSELF.search, warnings))
        assert lacks, f"{told}\nfound:\n{found.said}\nexpected:\n{expected.said}"
    for name, data in expected.outputs.items():
        other = found.outputs[name]
        assert (other is None) == (data is None), (told, name)
        if other != data:
            keep(root, name, other, data)
            pytest.fail(f"{told}: {name} differs")


def keep(root: Path, name: str, found: object, expected: object) -> None:
    """Leave both for who looks into it."""
    for kind, data in (("found", found), ("expected", expected)):
        if isinstance(data, bytes):
            (root / f"{kind}-{name.replace('/', '-')}").write_bytes(data)
