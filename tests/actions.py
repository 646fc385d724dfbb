"""Actions as the wrapper makes them, of a package that no compiler has to see.

A ``Place`` is a package in a test's own directory with its store; two places are two checkouts, or two machines.
"""

import os
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from kachelib import action as actions
from kachelib import extra_inputs, memo, rustc
from kachelib import roots as roots_module
from kachelib.action import Action
from kachelib.compile import Finished
from kachelib.config import Settings, load
from kachelib.entry import FILE, SOURCE, Candidate, Input
from kachelib.outcome import Refusal
from kachelib.rustc import Plan
from kachelib.store import Store, digest_file
from kachelib.toolchain import Toolchain

SYSROOT = "/opt/toolchain"
VERSION = """rustc 1.95.0 (59807616e 2026-04-14)
binary: rustc
commit-hash: 59807616e1fa2540724bfbac14d7976d7e4a3860
host: x86_64-unknown-linux-gnu
release: 1.95.0
"""

STEM = "x-1"
SOURCES = {"Cargo.toml": "[package]\nname = 'x'\n", "src/lib.rs": "mod foo;\n", "src/foo.rs": "pub fn one() {}\n"}


def plan_of(*arguments: str) -> Plan:
    """The plan of a command line that is modelled."""
    found = rustc.parse(list(arguments))
    assert isinstance(found, Plan), getattr(found, "reason", "not a compile")
    return found


class Place:
    """A workspace of one package below ``base``. Sources are relative, as Cargo passes them for a member."""

    def __init__(
        self, base: Path, files: Optional[Mapping[str, str]] = None, *, name: str = "ws", home: str = "home"
    ) -> None:
        self.directory = base / name
        self.home = base / home
        self.target = self.directory / "target"
        self.out = self.target / "debug/deps"
        self.store = Store(str(base / "cache"))
        self.environ: Dict[str, str] = {
            "HOME": str(self.home),
            "CARGO_HOME": str(self.home / ".cargo"),
            "CARGO_MANIFEST_DIR": str(self.directory),
            "PATH": os.environ["PATH"],
        }
        self.version = VERSION
        self.driver = ""
        self.settings = load({"KACHE_CACHE_DIR": str(base / "cache")}, ())
        self.out.mkdir(parents=True)
        (self.target / "CACHEDIR.TAG").write_text("")
        for relative, text in (SOURCES if files is None else files).items():
            self.write(relative, text)

    def write(self, relative: str, text: str) -> Path:
        """Write one file of the package."""
        path = self.directory / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        return path

    def arguments(
        self,
        *more: str,
        kind: str = "lib",
        emit: str = "dep-info,metadata,link",
        source: str = "src/lib.rs",
        out: Optional[str] = None,
    ) -> List[str]:
        """A command line as Cargo's, ``more`` behind it."""
        line = f"--crate-name x --edition=2021 {source} --error-format=json --json=diagnostic-rendered-ansi,artifacts"
        line += f" --crate-type {kind} --emit={emit} -C metadata=1 -C extra-filename=-1 --out-dir"
        return [*line.split(), str(self.out) if out is None else out, *more]

    def unbuilt(self, arguments: Sequence[str], environ: Optional[Mapping[str, str]] = None, cwd: str = "") -> Action:
        """The action before its key."""
        plan = plan_of(*arguments)
        cwd = cwd or str(self.directory)
        env = dict(self.environ if environ is None else environ)
        tools = Toolchain(SYSROOT + "/bin/rustc", self.version, SYSROOT, self.driver, 0)
        found = roots_module.find(plan.source, cwd, roots_module.absolute(plan.out_dir, cwd), env)
        action = Action(plan, tools, roots_module.with_sysroot(found, SYSROOT), cwd, env)
        actions.decide_remapping(action, self.settings)
        action.extra = extra_inputs.read(action.manifest_dir(), "")
        return action

    def action(self, *more: str, environ: Optional[Mapping[str, str]] = None, cwd: str = "", **options: Any) -> Action:
        """The action with its key; options as for ``arguments``."""
        action = self.unbuilt(self.arguments(*more, **options), environ, cwd)
        refusal = actions.build(action, self.settings, self.store)
        assert refusal is None, (refusal.reason, refusal.detail)
        return action

    def key(self, *more: str, **options: Any) -> str:
        """The key of that action."""
        return self.action(*more, **options).key

    def refusal(self, *more: str, **options: Any) -> str:
        """Why that action has no key."""
        action = self.unbuilt(self.arguments(*more, **options))
        found = actions.build(action, self.settings, self.store)
        assert isinstance(found, Refusal)
        return found.reason

    def extern(self, name: str, content: str = "") -> "List[str]":
        """An --extern of a file with that content."""
        path = self.out / f"lib{name}-2.rmeta"
        path.write_text(content or name)
        return ["--extern", f"{name}={path}"]

    def candidate(self, action: Action, *files: str) -> Candidate:
        """A candidate that read these files of the package; by default all sources."""
        candidate = Candidate()
        for relative in files or ("src/lib.rs", "src/foo.rs"):
            path = str(self.directory / relative)
            kind = SOURCE if relative.endswith(".rs") else FILE
            candidate.inputs.append(Input(kind, action.roots.normalise(path), digest_file(path)))
        candidate.cache_key = candidate.compute_cache_key(action.key)
        return candidate


def settings_with(settings: Settings, **values: Any) -> Settings:
    """``settings``, changed."""
    for name, value in values.items():
        setattr(settings, name, value)
    return settings


def grow_old() -> None:
    """Wait until files that were written just now are old enough to be remembered."""
    time.sleep(memo.RACY_NS / 1e9 + 0.015)


def compiled(
    place: Place,
    action: Action,
    files: Optional[Mapping[str, bytes]] = None,
    *,
    sources: Sequence[str] = ("src/lib.rs", "src/foo.rs"),
    variables: Optional[Mapping[str, Optional[str]]] = None,
    stderr: bytes = b"",
    stdout: bytes = b"",
) -> Finished:
    """What a compiler would have left: outputs (name -> content), dep-info and the words it said.

    sources: as rustc would name them. variables: read, with their values.
    """
    if files is None:
        files = {f"lib{STEM}.rmeta": b"metadata", f"lib{STEM}.rlib": b"!<arch>\n"}
    time.sleep(0.015)
    finished = Finished(memo.file_clock())
    out = action.plan.out_dir
    for name, data in files.items():
        path = Path(action.out_dir(), name)
        path.unlink(missing_ok=True)
        path.write_bytes(data)
    read = " ".join(name.replace(" ", "\\ ") for name in sources)
    rules = [f"{out}/{name}: {read}\n" for name in (f"{STEM}.d", *files)] + [
        "".join(name.replace(" ", "\\ ") + ":\n" for name in sources)
    ]
    text = "\n".join(rules)
    for name, value in (variables or {}).items():
        setting = "" if value is None else "=" + value.replace("\\", "\\\\").replace("\n", "\\n")
        text += f"\n# env-dep:{name}{setting}"
    Path(action.out_dir(), f"{STEM}.d").write_bytes((text + "\n").encode("utf-8", "surrogateescape"))
    notes = [
        b'{"$message_type":"artifact","artifact":"%b/%b","emit":"%b"}\n'
        % (out.encode("utf-8", "surrogateescape"), name.encode(), b"metadata" if name.endswith(".rmeta") else b"link")
        for name in files
    ]
    finished.stderr = b"".join([*notes, stderr])
    finished.stdout = stdout
    finished.ms = 1234
    return finished


def archive(place: Place, relative: str, content: str = "", magic: str = "!<arch>\n") -> Path:
    """A static library, as far as its first bytes say so."""
    return place.write(relative, magic + content)
