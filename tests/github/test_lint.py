"""Workflows and actions hold no mistake that actionlint and zizmor know; and these two find what they are there for."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Callable, Dict

import pytest

from requirements import sbom
from requirements.wheels import read_lock
from tests.conftest import missing
from tests.world import REPOSITORY

GITHUB = REPOSITORY / ".github"

GOOD = """\
name: one
on: push
permissions: {}
jobs:
  one:
    runs-on: ubuntu-24.04
    steps:
      - run: echo "$TITLE"
        env:
          TITLE: ${{ github.event.pull_request.title }}
"""


@pytest.fixture(scope="session")
def actionlint() -> Path:
    """Built from requirements/actionlint, whose go.sum pins it; from the module proxy, once."""
    program = REPOSITORY / "build" / "actionlint"
    go = shutil.which("go") or shutil.which("go", path=str(REPOSITORY / "build" / "go" / "bin"))
    if go is None:
        missing("go")
    source = REPOSITORY / "requirements" / "actionlint"
    command = [str(go), "build", "-mod=readonly", "-o", str(program), "github.com/rhysd/actionlint/cmd/actionlint"]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"actionlint ({done.stderr.strip().splitlines()[-1:]})")
    return program


@pytest.fixture(scope="session")
def zizmor() -> Path:
    program = Path(sys.executable).parent / "zizmor"
    if not os.access(program, os.X_OK):
        missing("zizmor")
    return program


def ran(*command: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)


def test_actionlint_finds_nothing(actionlint: Path) -> None:
    done = ran(actionlint, *sorted((GITHUB / "workflows").glob("*.yml")))
    assert done.returncode == 0, done.stdout


def test_zizmor_finds_nothing(zizmor: Path) -> None:
    done = ran(zizmor, "--offline", "--no-progress", "--persona=pedantic", "--min-severity=low", GITHUB)
    assert done.returncode == 0, done.stdout
    for file in GITHUB.rglob("*.yml"):
        assert f"completed {file}" in done.stderr, "it was not looked at"


BAD: Dict[str, str] = {
    "actionlint": GOOD.replace("runs-on: ubuntu-24.04", "runs-on: ubuntu-24.04\n    need: [two]"),
    "zizmor": GOOD.replace('echo "$TITLE"', 'echo "${{ github.event.pull_request.title }}"'),
}


def test_actionlint_finds_a_key_that_is_none(actionlint: Path, tmp_path: Path) -> None:
    workflow = tmp_path / ".github" / "workflows" / "one.yml"
    workflow.parent.mkdir(parents=True)
    workflow.write_text(GOOD)
    assert ran(actionlint, workflow).returncode == 0
    workflow.write_text(BAD["actionlint"])
    assert "need" in ran(actionlint, workflow).stdout


def test_zizmor_finds_what_a_stranger_can_write_into_a_script(zizmor: Path, tmp_path: Path) -> None:
    workflow = tmp_path / ".github" / "workflows" / "one.yml"
    workflow.parent.mkdir(parents=True)
    workflow.write_text(GOOD)
    assert ran(zizmor, "--offline", "--no-progress", workflow).returncode == 0
    workflow.write_text(BAD["zizmor"])
    assert "template-injection" in ran(zizmor, "--offline", "--no-progress", workflow).stdout


def test_what_is_used_is_pinned_by_digest() -> None:
    for file in GITHUB.rglob("*.yml"):
        for line in file.read_text().splitlines():
            if " uses: " in line or line.lstrip().startswith("- uses: "):
                reference = line.partition("uses: ")[2].partition(" ")[0]
                assert len(reference.partition("@")[2]) == 40, f"{file}: {line}"
                assert " # v" in line, f"{file}: {line}"


def test_the_bill_of_materials_is_the_lock() -> None:
    document = json.loads(json.dumps(sbom.document()))
    listed = {(each["name"], each["version"]) for each in document["components"]}
    assert listed == {(pin.name, pin.version) for pin in read_lock()}
    assert document["bomFormat"] == "CycloneDX"
    assert all(each["externalReferences"][0]["hashes"] for each in document["components"])


def test_the_scripts_of_actions_and_of_ci_hold_no_mistake(require_tool: Callable[[str], str]) -> None:
    scripts = [*sorted(GITHUB.rglob("*.sh")), REPOSITORY / ".ci" / "run", REPOSITORY / ".ci" / "prepare"]
    assert len(scripts) == 6
    done = ran(require_tool("shellcheck"), *scripts)
    assert done.returncode == 0, done.stdout


def test_every_directory_of_tests_runs() -> None:
    text = (GITHUB / "workflows" / "ci.yml").read_text()
    [listed] = re.findall(r"^ +tests: \[(.*)\]$", text, re.M)
    ours = {path.parent.name for path in (REPOSITORY / "tests").glob("*/test_*.py")}
    assert {*listed.split(", "), "unit"} == ours
