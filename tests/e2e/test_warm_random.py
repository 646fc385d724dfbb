"""Random edits again, in target directories that are warmed: after each, a build is what a build without kache is.

The steps and comparisons are those of test_random.py; here whole units come back from snapshots that earlier steps
left, so that generations of everything meet in one plan. More packages hang on what Cargo does not see: a C compiler, a
vendored package, a script that declares nothing, a file above its package.
"""

import os
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import pytest

from tests.conftest import IN_CI
from tests.e2e.family import MEMBER
from tests.e2e.test_random import PLACES, SEED, Drive, State
from tests.world import Cargo, Kache, Run

STEPS = int(os.environ.get("KACHE_TEST_STEPS", "300"))

CC = """#!/bin/sh
case " $* " in
  *" --version "*) echo "cc (made for a test) {number}.0"; exit 0 ;;
esac
exec /usr/bin/cc -DVALUE={number} "$@"
"""

MORE: Dict[str, str] = {
    "cee/Cargo.toml": MEMBER.format("cee"),
    "cee/build.rs": """
        use std::process::Command;
        fn main() {
            println!("cargo:rerun-if-changed=v.c");
            let out = std::env::var("OUT_DIR").unwrap();
            let object = format!("{out}/v.o");
            assert!(Command::new("cc").args(["-c", "-O1", "v.c", "-o", &object]).status().unwrap().success());
            assert!(Command::new("ar").args(["crs", &format!("{out}/libv.a"), &object]).status().unwrap().success());
            println!("cargo:rustc-link-search=native={out}");
            println!("cargo:rustc-link-lib=static=v");
        }
        """,
    "cee/src/lib.rs": """
        extern "C" { fn v() -> i32; }
        pub fn value() -> i32 { unsafe { v() } }
        """,
    "und/Cargo.toml": MEMBER.format("und"),
    "und/build.rs": """
        fn main() {
            let text = std::fs::read_to_string("said.txt").unwrap();
            println!("cargo:rustc-env=SAID={}", text.trim());
            if text.trim() == "loud" { println!("cargo:rustc-cfg=loud"); }
        }
        """,
    "und/src/lib.rs": 'pub fn said() -> (&\'static str, bool) { (env!("SAID"), cfg!(loud)) }\n',
    "top/Cargo.toml": MEMBER.format("top"),
    "top/src/lib.rs": 'pub const SHARED: &str = include_str!("../../shared.txt");\n',
    ".cargo/config.toml": '[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "vendor"\n',
}
VENDORED = '[package]\nname = "vend"\nversion = "1.0.{}"\nedition = "2021"\n'


@dataclass(frozen=True)
class WarmState(State):
    """More of what the workspace and its surroundings are like."""

    compiler: int = 1
    c_add: int = 0
    undeclared: str = "soft"
    shared: str = "s"
    vendored: int = 0
    vendored_text: str = "v"
    salt: str = ""
    keyed: Optional[str] = None
    extra: str = "1"
    bootstrap: bool = False
    cargo_home: str = "home/.cargo"

    def files(self) -> Dict[str, str]:
        found = {**super().files(), **MORE}
        found["Cargo.toml"] = found["Cargo.toml"].replace('"app",', '"app", "cee", "top", "und",')
        found["app/Cargo.toml"] = found["app/Cargo.toml"].replace(
            'gen = { path = "../gen" }',
            'gen = { path = "../gen" }\n        cee = { path = "../cee" }\n        top = { path = "../top" }\n'
            f'        und = {{ path = "../und" }}\n        vend = "=1.0.{self.vendored}"',
        )
        found["app/src/main.rs"] = found["app/src/main.rs"].replace(
            "cfg!(special));",
            'cfg!(special));\n    println!("{} {:?} {} {}", cee::value(), und::said(), top::SHARED.trim(), vend::T);',
        )
        found["cee/v.c"] = f"int v(void) {{ return VALUE + {self.c_add}; }}\n"
        found["und/said.txt"] = self.undeclared + "\n"
        found["shared.txt"] = self.shared + "\n"
        found["low/kache.toml"] = 'extra_inputs = ["extra.txt"]\n'
        found["low/extra.txt"] = self.extra + "\n"
        for number in (0, 1):
            base = f"vendor/vend-1.0.{number}/"
            found[base + "Cargo.toml"] = VENDORED.format(number)
            found[base + "src/lib.rs"] = f'pub const T: &str = "{self.vendored_text}{number}";\n'
            found[base + ".cargo-checksum.json"] = '{"files":{},"package":null}'
        return found

    def prints(self) -> str:
        loud = str(self.undeclared == "loud").lower()
        value = self.compiler + self.c_add
        more = f'{value} ("{self.undeclared}", {loud}) {self.shared} {self.vendored_text}{self.vendored}\n'
        return super().prints() + more

    def environment(self) -> Dict[str, Optional[str]]:
        found = super().environment()
        found.update(
            KACHE_WARM_TARGETS="1",
            KACHE_KEY_SALT=self.salt or None,
            KACHE_KEY_ENV_VARS="THE_KEYED",
            THE_KEYED=self.keyed,
            RUSTC_BOOTSTRAP="1" if self.bootstrap else None,
        )
        return found


@dataclass
class WarmDrive(Drive):
    """The same drive, with target directories that are warmed, and units that are kept after every step."""

    state: State = WarmState()
    unseen: Tuple[str, ...] = ("data", "times", "same time", "compiler", "vendored text", "all back")
    warmed: int = 0
    builds: int = 0

    def __post_init__(self) -> None:
        for number in (1, 2):
            path = self.cargo.world.root / f"cc-{number}" / "cc"
            path.parent.mkdir()
            path.write_text(CC.format(number=number))
            path.chmod(0o755)
        super().__post_init__()

    def change_compiler(self) -> str:
        return self.vary("compiler", compiler=self.chance.choice((1, 2)))

    def change_c_source(self) -> str:
        return self.vary("c", c_add=self.chance.choice((0, 10)))

    def change_undeclared(self) -> str:
        return self.vary("undeclared", undeclared=self.chance.choice(("soft", "loud")))

    def change_shared(self) -> str:
        return self.vary("shared", shared=self.chance.choice("st"))

    def change_vendored_version(self) -> str:
        return self.vary("vendored", vendored=self.chance.choice((0, 1)))

    def change_vendored_text(self) -> str:
        return self.vary("vendored text", vendored_text=self.chance.choice("vw"))

    def change_salt(self) -> str:
        return self.vary("salt", salt=self.chance.choice(("", "pepper")))

    def change_keyed(self) -> str:
        return self.vary("keyed", keyed=self.chance.choice((None, "1", "2")))

    def change_extra(self) -> str:
        return self.vary("extra", extra=self.chance.choice("12"))

    def change_bootstrap(self) -> str:
        return self.vary("bootstrap", bootstrap=self.chance.random() < 0.5)

    def change_cargo_home(self) -> str:
        return self.vary("cargo home", cargo_home=self.chance.choice(("home/.cargo", "other-cargo")))

    def change_all_back(self) -> str:
        self.state = WarmState(place=self.state.place)
        return "all back"

    def change_all_times(self) -> str:
        """Every file of the workspace at once, far in the past or just now."""
        moment = self.chance.choice((1.0, 1e9, None))
        for name in self.written:
            os.utime(self.ws / name, None if moment is None else (moment, moment))
        return f"times: all {moment}"

    def change_units(self) -> str:
        """Records and plans go, or are damaged."""
        share = self.chance.choice((0.1, 0.5))
        part = self.chance.choice(("units", "plans"))
        hit = 0
        for path in sorted((self.cargo.world.cache_dir / part).rglob("*")):
            if path.is_file() and self.chance.random() < share:
                data = bytearray(path.read_bytes())
                if self.chance.random() < 0.5:
                    path.unlink()
                else:
                    data[self.chance.randrange(len(data))] ^= 1 << self.chance.randrange(8)
                    path.write_bytes(bytes(data))
                hit += 1
        return f"units: {hit} of {part}"

    def change_blobs(self) -> str:
        """Some blobs are cut."""
        cut = 0
        for path in sorted((self.cargo.world.cache_dir / "store").rglob("*")):
            if path.is_file() and self.chance.random() < 0.1:
                data = path.read_bytes()
                path.unlink()
                path.write_bytes(data[: len(data) // 2])
                cut += 1
        return f"store: {cut} cut"

    def build(self, target: str, *more: str, wrapper: bool = True, check: bool = True) -> Run:
        run = super().build(target, *more, wrapper=wrapper, check=check)
        found = sum(int(event["warmed"]) for event in run.events if event["result"] == "warmed")
        self.builds += target == "target" and not more
        self.warmed += found > 0
        return run

    def left_over(self, restored: Dict[str, bytes], fresh: Dict[str, bytes]) -> List[str]:
        """All that is kept of a profile comes back, so units with other features lie beside those of this build."""
        found = restored.keys() - fresh.keys()
        return sorted(name for name in found if not name.startswith(("build/", "deps/")) and "/" in name)

    def after_build(self) -> None:
        words = ["--release"] if self.state.release else []
        env = {**self.environment(), "CARGO_TARGET_DIR": str(self.ws / "target")}
        self.cargo.world.run([self.cargo.kache.path, "save", *words], cwd=self.ws, env=env).ok()

    def environment(self) -> Dict[str, Optional[str]]:
        """The state's, with what only this world knows."""
        assert isinstance(self.state, WarmState)
        root = self.cargo.world.root
        return {
            **self.state.environment(),
            "PATH": f"{root}/cc-{self.state.compiler}:{self.cargo.world.env['PATH']}",
            "CARGO_HOME": str(root / self.state.cargo_home),
        }


@pytest.fixture
def kache(kache_file: Kache) -> Kache:
    """Only as it ships."""
    return kache_file


def drive(cargo: Cargo, seed: int, steps: int) -> None:
    print(f"KACHE_TEST_SEED={seed}", flush=True)
    found = WarmDrive(cargo, seed)
    for number in range(steps):
        found.step(number)
    assert found.warmed > found.builds / 3, f"{found.warmed} of {found.builds} builds were warmed"


def test_random_edits_of_warm_targets(cargo: Cargo) -> None:
    seed = int(SEED) if SEED else 1 if IN_CI else random.randrange(1 << 32)
    drive(cargo, seed, 25)


@pytest.mark.soak
def test_random_edits_of_warm_targets_for_long(cargo: Cargo) -> None:
    drive(cargo, int(SEED) if SEED else random.randrange(1 << 32), STEPS)


def test_the_states_say_what_the_program_prints(cargo: Cargo, tmp_path: Path) -> None:
    """Without kache: the measure that the random test compares with."""
    found = WarmDrive(cargo, 1)
    found.state = replace(found.state, compiler=2, c_add=10, undeclared="loud", vendored=1)  # type: ignore[call-arg]
    found.write()
    assert found.printed("target", wrapper=False) == found.state.prints()
    assert PLACES[0] in str(found.ws)
