"""Real Nix over the stand-in for nixpkgs: what tests/nix calls, and what it may change.

Owns the copies of kache's flake and of the stand-in, and how Nix is configured. The store is the machine's own, for
nothing else gives real paths; tests delete from it by name, and never collect garbage.
"""

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Union

from requirements.parts import NATIVE, VENDORED
from requirements.wheels import BUILD, pins_for
from tests.world import REPOSITORY, Run, World

# As root without a daemon, without a network; where a daemon is there, the last ones are its own affair.
CONFIG = "\n".join(
    (
        "experimental-features = nix-command flakes",
        "flake-registry =",
        "substituters =",
        "build-users-group =",
        "sandbox = false",
        "warn-dirty = false",
    )
)

# A newer Nix than the system's, which .ci/run unpacks; its programs run with the libraries beside them.
_NEWER = BUILD / "nix-newer" / "usr"
_LIBRARIES = _NEWER / "lib" / "x86_64-linux-gnu"
PROGRAMS = {
    "system": ["nix"],
    "newer": [
        str(_LIBRARIES / "ld-linux-x86-64.so.2"),
        "--library-path",
        f"{_LIBRARIES}:{_NEWER}/lib",
        str(_NEWER / "bin" / "nix"),
        # a program of its own, which would be looked for beside ld.so
        *("--option", "build-hook", ""),
    ],
}

# What kache's flake is made of; the rest of a checkout is large, and moves nothing.
FLAKE = ("flake.nix", "nix", "build_zipapp.py", "kache.py", "kachelib", "launcher", "requirements", "README.md")

REVISIONS = ("libc", "ld", "cc", "rustc", "cargo", "clippy", "linter")

LOADER = "/lib64/ld-linux-x86-64.so.2"


class Nix:
    """Nix in one world. kache: the copy of the flake; nixpkgs: that of the stand-in; program: the nix that is run."""

    def __init__(self, world: World, rust: Mapping[str, str], program: Sequence[str] = ("nix",)) -> None:
        self.world = world
        self.program = list(program)
        self.kache = world.root / "kache-flake"
        self.nixpkgs = world.root / "nixpkgs"
        self.kache.mkdir()
        for name in FLAKE:
            source = REPOSITORY / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, self.kache / name)
        shutil.copytree(REPOSITORY / "tests" / "nix" / "nixpkgs", self.nixpkgs)
        names = take_wheels(self.nixpkgs / "wheels")
        bin_directory = Path(rust["sysroot"]) / "bin"
        self.host: Dict[str, object] = {
            "rustc": str(bin_directory / "rustc"),
            "cargo": str(bin_directory / "cargo"),
            "clippy": str(bin_directory / "clippy-driver"),
            "gcc": tool("gcc"),
            "gxx": tool("g++"),
            "ld": tool("ld.bfd"),
            "loader": os.path.realpath(LOADER),
            "python": os.path.realpath(sys.executable),
            "wheels": names,
        }
        # another test's paths are its own: it may delete them
        self.revisions = dict.fromkeys(REVISIONS, uuid.uuid4().hex[:8])
        self.write_host()

    def write_host(self) -> None:
        """Write host.nix anew, after a change of ``revisions``."""
        data = json.dumps({**self.host, "revisions": self.revisions})
        (self.nixpkgs / "host.nix").write_text(f"builtins.fromJSON ''{data}''\n")

    def bump(self, name: str) -> None:
        """Another revision of one piece of the stand-in; nothing that it says of itself changes."""
        self.revisions[name] += "x"
        self.write_host()

    def __call__(
        self,
        *args: Union[str, Path],
        cwd: Optional[Path] = None,
        env: Optional[Mapping[str, Optional[str]]] = None,
        stdin: str = "",
    ) -> Run:
        """Run ``nix ARGS``; inputs named kache and nixpkgs are this world's."""
        words: List[Union[str, Path]] = [*self.program, *args]
        return self.world.run(words, cwd=cwd, env={"NIX_CONFIG": CONFIG, **(env or {})}, stdin=stdin)

    def inputs(self, own: bool = False) -> List[str]:
        """The options that name them. own: the flake is kache's itself."""
        if own:
            return ["--override-input", "nixpkgs", f"path:{self.nixpkgs}", "--no-write-lock-file"]
        kache = ["--override-input", "kache", f"path:{self.kache}"]
        return [*kache, "--override-input", "nixpkgs", f"path:{self.nixpkgs}", "--no-write-lock-file"]

    def project(self, name: str = "project", *, shell: str = "", packages: str = "") -> Path:
        """A user's flake: a crate with a program, and a shell made by mkKacheShell. shell: further attributes."""
        return self.world.workspace(
            {
                "Cargo.toml": '[package]\nname = "demo"\nversion = "0.1.0"\nedition = "2021"\n',
                "src/main.rs": 'fn main() { println!("it runs"); }\n',
                "Cargo.lock": 'version = 4\n\n[[package]]\nname = "demo"\nversion = "0.1.0"\n',
                "flake.nix": f"""\
                    {{
                      inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
                      inputs.kache.url = "github:kache-build/kache";
                      inputs.kache.inputs.nixpkgs.follows = "nixpkgs";
                      outputs = {{ self, nixpkgs, kache }}:
                        let pkgs = nixpkgs.legacyPackages.x86_64-linux; in {{
                          devShells.x86_64-linux.default = kache.lib.mkKacheShell pkgs {{
                            toolchain = [ pkgs.rustc pkgs.cargo ];
                            packages = [ {packages} ];
                            {shell}
                          }};
                        }};
                    }}
                    """,
            },
            name=name,
        )

    def develop(
        self, project: Path, *command: Union[str, Path], env: Optional[Mapping[str, Optional[str]]] = None
    ) -> Run:
        """``nix develop -c COMMAND`` in a project, with only what the shell itself brings and the host's /usr/bin."""
        return self("develop", *self.inputs(), f"path:{project}", "-c", *command, cwd=project, env=env)


def tool(name: str) -> str:
    found = shutil.which(name, path="/usr/bin:/bin")
    assert found is not None, f"{name} is not in /usr/bin"
    return found


def take_wheels(directory: Path) -> List[str]:
    """Copy the wheels that the file is made of, a folder for each package; returns their names as nixpkgs has them."""
    minor = sys.version_info[1]
    pins = pins_for((*NATIVE, *VENDORED, "pycryptodome", "tomlkit"), minor)
    for pin in pins:
        stem = f"{pin.name.replace('-', '_').replace('.', '_')}-{pin.version}-"
        found = [path for path in (BUILD / "wheels").glob("*here*/*.whl") if path.name.startswith(stem)]
        found += [path for path in (BUILD / "wheels").glob("pure-*/*.whl") if path.name.startswith(stem)]
        fitting = [
            path for path in found if f"-cp3{minor}-" in path.name or "-none-any" in path.name or "abi3" in path.name
        ]
        assert fitting, f"no wheel of {pin.name} {pin.version} in build/wheels: make file"
        (directory / pin.name).mkdir(parents=True)
        shutil.copy(fitting[0], directory / pin.name)
    return [pin.name for pin in pins]


def works(program: Sequence[str] = ("nix",)) -> str:
    """Why this Nix cannot be used here; "" where it can."""
    try:
        done = subprocess.run(
            [*program, "store", "ping"],
            env={**os.environ, "NIX_CONFIG": CONFIG},
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        return str(error)
    return done.stderr.strip() if done.returncode else ""
