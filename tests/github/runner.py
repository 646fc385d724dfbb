"""A runner for composite actions: their steps as the YAML has them, in order, with real shells and files.

Owns what GitHub's runner does as far as our actions use it: expressions, GITHUB_ENV, GITHUB_PATH, GITHUB_OUTPUT and the
summary as files, and actions/cache over a directory. An expression or an action that it does not know fails the test.
"""

import hashlib
import re
import subprocess
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

import yaml

from tests.world import REPOSITORY

ACTIONS = REPOSITORY / ".github" / "actions"


@dataclass
class Done:
    """One action that ran. outputs: of its steps, by id. said: what they printed. failed: what a step ended with."""

    outputs: Dict[str, Dict[str, str]] = field(default_factory=dict)
    said: str = ""
    failed: int = 0
    # which steps ran, by name
    ran: List[str] = field(default_factory=list)


@dataclass
class Job:
    """A job on a machine of its own. archives: what plays the cache service, and outlives jobs."""

    home: Path
    workspace: Path
    archives: Path
    env: Dict[str, str]
    ref: str = "refs/heads/main"
    run_id: str = "1"
    event: Dict[str, Any] = field(default_factory=lambda: {"repository": {"default_branch": "main"}})

    def __post_init__(self) -> None:
        self.temp = self.home / "runner-temp"
        self.temp.mkdir(parents=True)
        self.archives.mkdir(exist_ok=True)
        for name in ("env", "path", "summary"):
            (self.temp / name).touch()
        self.env = {
            **self.env,
            "HOME": str(self.home),
            "RUNNER_TEMP": str(self.temp),
            "RUNNER_OS": "Linux",
            "RUNNER_ARCH": "X64",
            "GITHUB_JOB": "build",
            "GITHUB_REF": self.ref,
            "GITHUB_RUN_ID": self.run_id,
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_SERVER_URL": self.env.get("GITHUB_SERVER_URL", "http://127.0.0.1:9"),
            "GITHUB_REPOSITORY": "someone/something",
            "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_ENV": str(self.temp / "env"),
            "GITHUB_PATH": str(self.temp / "path"),
            "GITHUB_STEP_SUMMARY": str(self.temp / "summary"),
        }

    @property
    def summary(self) -> str:
        return (self.temp / "summary").read_text()

    def environment(self) -> Dict[str, str]:
        """What a step gets: the job's variables, those that earlier steps exported, and what they put on PATH."""
        env = dict(self.env)
        for line in (self.temp / "env").read_text().splitlines():
            name, equals, value = line.partition("=")
            assert equals, f"GITHUB_ENV holds {line!r}"
            env[name] = value
        added = (self.temp / "path").read_text().split()
        env["PATH"] = ":".join([*reversed(added), env["PATH"]])
        return env

    def run(self, command: List[str], **more: str) -> "subprocess.CompletedProcess[str]":
        """A step of the user's own."""
        return subprocess.run(
            command, cwd=self.workspace, env={**self.environment(), **more}, capture_output=True, text=True, check=False
        )

    def uses(self, action: str, **inputs: str) -> Done:
        """Run an action of ours; a step that fails ends it, as it ends a job."""
        directory = ACTIONS / action
        described = yaml.safe_load((directory / "action.yml").read_text())
        unknown = {name.replace("_", "-") for name in inputs} - set(described["inputs"])
        assert not unknown, f"{action} has no input {unknown}"
        values = {name: str(about.get("default", "")) for name, about in described["inputs"].items()}
        values.update((name.replace("_", "-"), value) for name, value in inputs.items())
        done = Done()
        context = Context(self, {}, done)
        context.inputs = {name: context.text(value) for name, value in values.items()}
        for step in described["runs"]["steps"]:
            if "if" in step and not context.condition(step["if"]):
                continue
            done.ran.append(step["name"])
            if "uses" in step:
                given = {name: context.text(str(value)) for name, value in step.get("with", {}).items()}
                done.outputs[step.get("id", step["name"])] = self._foreign(step["uses"], given)
            else:
                done.failed = self._shell(step, directory, context)
            if done.failed:
                break
        return done

    def _shell(self, step: Mapping[str, Any], directory: Path, context: "Context") -> int:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"], "an expression in a script is run by whoever writes it"
        output = self.temp / "output"
        output.write_text("")
        env = {**self.environment(), "GITHUB_ACTION_PATH": str(directory), "GITHUB_OUTPUT": str(output)}
        env.update((name, context.text(str(value))) for name, value in step.get("env", {}).items())
        place = self.workspace / context.text(step.get("working-directory", "."))
        script = self.temp / "step.sh"
        script.write_text(step["run"])
        ended = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)],
            cwd=place, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        context.done.said += ended.stdout
        pairs = (line.partition("=") for line in output.read_text().splitlines())
        context.done.outputs[step.get("id", step["name"])] = {name: value for name, _, value in pairs}
        return ended.returncode

    def _foreign(self, name: str, given: Mapping[str, str]) -> Dict[str, str]:
        assert re.fullmatch(r"[\w-]+/[\w/-]+@[0-9a-f]{40}", name), f"{name} is not pinned"
        path = Path(given["path"])
        if name.startswith("actions/cache/save@"):
            archive = self.archives / (hashlib.sha256(given["key"].encode()).hexdigest() + ".tar")
            assert not archive.exists(), "an archive cannot be stored twice"
            with tarfile.open(archive, "w") as tar:
                tar.add(path, arcname=".")
            archive.with_suffix(".key").write_text(given["key"])
            return {}
        assert name.startswith("actions/cache/restore@"), f"{name} is not known here"
        keys = {file.read_text(): file for file in self.archives.glob("*.key")}
        for wanted in [given["key"], *given["restore-keys"].split()]:
            fitting = [file for key, file in keys.items() if key.startswith(wanted)]
            if fitting:
                newest = max(fitting, key=lambda file: file.stat().st_mtime_ns)
                path.mkdir(parents=True, exist_ok=True)
                # as the service does it: names, modes and times come back
                subprocess.run(["tar", "-xf", str(newest.with_suffix(".tar")), "-C", str(path)], check=True)
                return {
                    "cache-hit": str(newest.read_text() == given["key"]).lower(),
                    "cache-matched-key": newest.read_text(),
                }
        return {"cache-hit": "", "cache-matched-key": ""}


@dataclass
class Context:
    """What expressions can name while one action runs."""

    job: Job
    inputs: Dict[str, str]
    done: Done

    def text(self, template: str) -> str:
        return re.sub(r"\$\{\{\s*(.*?)\s*\}\}", lambda match: self.value(match[1]), template)

    def condition(self, expression: str) -> bool:
        match = re.fullmatch(r"(\S+) (==|!=) '([^']*)'", expression.strip())
        assert match, f"the condition {expression!r} is not known here"
        return (self.value(match[1]) == match[3]) == (match[2] == "==")

    def value(self, expression: str) -> str:
        if expression == "hashFiles('**/Cargo.lock')":
            files = sorted(self.job.workspace.rglob("Cargo.lock"))
            return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
        if expression == "github.token":
            return "a-token"
        parts = expression.split(".")
        found: Optional[Any] = None
        if parts[0] == "inputs":
            found = self.inputs[parts[1]]
        elif parts[0] == "steps":
            found = self.done.outputs.get(parts[1], {}).get(parts[3], "")
        elif parts[:2] == ["github", "event"]:
            found = self.job.event
            for part in parts[2:]:
                found = found.get(part, {}) if isinstance(found, dict) else {}
            found = found or ""
        assert found is not None, f"the expression {expression!r} is not known here"
        return str(found)


def tools(env: Mapping[str, str]) -> Dict[str, str]:
    """The variables of a world that a runner has as well."""
    kept = (
        "PATH",
        "CARGO_HOME",
        "RUSTUP_HOME",
        "RUSTUP_TOOLCHAIN",
        "RUSTUP_AUTO_INSTALL",
        "LC_ALL",
        "CARGO_TERM_COLOR",
    )
    return {name: env[name] for name in kept if name in env}
