"""Whatever fails inside kache, the compile is the compiler's: exit status, object and words, and it runs once."""

import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import pytest

from tests.cc.project import Project, settle
from tests.world import REPOSITORY

PACKAGES = [path for path in sys.path if path.endswith("site-packages")]
DRIVER = """
import sys
sys.path[:0] = {path!r}
from kachelib import cc_wrapper
{patch}
sys.exit(cc_wrapper.main(sys.argv[1:]))
"""
COMPILE = ["-Wall", "-Iinc", "-MD", "-c", "src/main.c", "-o", "main.o"]
NAMES = ["main.o", "main.d"]

BEFORE = (
    "config.load", "cc.parse", "roots.find_for_c", "cc_toolchain.identify", "cc_action.build", "inputs.difference",
    "cc_replay.is_plain", "cc_replay.restore", "cc_replay.say", "depfile.expand", "preprocessed.applies",
    "preprocessed.read", "preprocessed.restore",
)  # fmt: skip
AFTER = (
    "events.append", "log.progress", "log.for_any_caller", "cc_collect.collect", "cc_collect.publish",
    "include_search.missing", "include_scan.scan", "preprocessed.keep", "invocation.record", "evict.maybe_start",
)  # fmt: skip


def breaks(name: str) -> str:
    module, _, function = name.partition(".")
    return (
        f"from kachelib import {module} as place\n"
        f"def broken(*_, **__): raise RuntimeError('a bug')\nplace.{function} = broken"
    )


def call(project: Project, patch: str) -> "subprocess.CompletedProcess[str]":
    """One compile, in a bare interpreter as the file starts it."""
    code = DRIVER.format(path=[str(REPOSITORY), *PACKAGES], patch=patch)
    env = {**project.world.env, **project.env}
    return subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code, str(counting(project)), *COMPILE],
        cwd=project.build,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


def counting(project: Project) -> Path:
    """A compiler whose programs are counted by what they leave: gcc, by way of a link that is named like it."""
    path = project.world.root / "bin" / "gcc"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.symlink_to("/usr/bin/gcc")
    return path


@pytest.mark.parametrize("stored", [False, True], ids=["miss", "hit"])
@pytest.mark.parametrize("name", BEFORE + AFTER)
def test_a_bug_costs_the_cache_and_not_the_build(name: str, stored: bool, project: Project) -> None:
    project.write({"src/main.c": '#include "value.h"\nint value(void) { int unused; return VALUE; }\n'})
    settle()
    if stored:
        assert call(project, "").returncode == 0
    expected = project.fresh([str(counting(project)), *COMPILE], NAMES)
    project.outputs(NAMES)
    done = call(project, breaks(name))
    assert (done.returncode, done.stdout + done.stderr) == (0, expected.said)
    found = project.outputs(NAMES)
    assert found["main.d"] == expected.outputs["main.d"]
    plain = project.fresh([str(counting(project)), *COMPILE], NAMES, maps=False)
    assert found["main.o"] in (expected.outputs["main.o"], plain.outputs["main.o"])


STORES: Dict[str, List[str]] = {
    "a file in its place": ["rm -rf {cache}", "touch {cache}"],
    "no room for entries": ["rm -rf {cache}/entries", "touch {cache}/entries"],
    "no room for blobs": ["rm -rf {cache}/store", "touch {cache}/store"],
    "an entry cut": ["for f in {cache}/entries/*/*; do head -c 100 $f > $f.x; mv $f.x $f; done"],
    "blobs gone": ["rm -rf {cache}/store"],
    "memos garbled": ["find {cache}/memo -type f -exec sh -c 'echo x > $0' {{}} \\;"],
}


@pytest.mark.parametrize("name", sorted(STORES))
def test_a_broken_store_is_a_compile(name: str, project: Project) -> None:
    settle()
    words = ["gcc", *COMPILE]
    expected = project.fresh(words, NAMES)
    project.cached(words, NAMES)
    for command in STORES[name]:
        subprocess.run(["sh", "-c", command.format(cache=project.world.cache_dir)], check=True)
    for _ in range(2):
        call_ = [str(project.kache.path), *words]
        done = subprocess.run(call_, cwd=project.build, env=project.world.env, capture_output=True, check=False)
        assert (done.returncode, (done.stdout + done.stderr).decode()) == (0, expected.said)
        assert project.outputs(NAMES) == expected.outputs


def test_two_at_once_compile_once(project: Project) -> None:
    project.write({"src/main.c": MANY})
    settle()
    words = [str(project.kache.path), "gcc", "-O2", "-c", "src/main.c", "-o"]
    env = {**project.world.env}
    running = [subprocess.Popen([*words, f"{number}.o"], cwd=project.build, env=env) for number in range(4)]
    assert [process.wait() for process in running] == [0, 0, 0, 0]
    assert len({(project.build / f"{number}.o").read_bytes() for number in range(4)}) == 1
    results = sorted(str(event["result"]) for event in project.world.events())
    assert results == ["local_hit", "local_hit", "local_hit", "miss"]


MANY = "".join(
    f"int f{number}(int x) {{ return x * {number} + f{number - 1}(x); }}\n"
    if number
    else "static int f0(int x) { return x; }\n"
    for number in range(2000)
)
