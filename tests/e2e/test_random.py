"""Random edits of a small workspace: after each, a build through kache is what a build without it is.

Each step changes something (often back to what it was) and then compares, in new target directories at one place,
the program's output with what the sources say it prints, from time to time with an uncached build's, and every file
below the target, byte for byte, with a build through kache into an empty store. A target directory that is kept from
step to step has to follow the edits that Cargo can see. KACHE_TEST_SEED repeats a run; without it, CI takes 1.
"""

import os
import random
import shutil
import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

import pytest

from tests.conftest import IN_CI
from tests.e2e.family import FAMILY
from tests.e2e.rustc import contents
from tests.world import Cargo, Kache, Run

SEED = os.environ.get("KACHE_TEST_SEED", "")
PLACES = ("one/ws", "two/deeper/ws", "three/ws-of-three")
# of one length, so that a change need not show in the size
TEXTS = ("quiet", "still", "muted")
FLAGS = ("", "--cfg special", "-C opt-level=1")


@dataclass(frozen=True)
class State:
    """What the workspace and its surroundings are like."""

    text: str = "quiet"
    number: int = 7
    comment: int = 0
    swapped: bool = False
    part_is_a_directory: bool = False
    data: Tuple[Tuple[str, str], ...] = (("a.txt", "a"),)
    separator: str = ","
    version: str = "0.1.0"
    setting: Optional[str] = None
    loud: bool = False
    release: bool = False
    flags: str = ""
    place: str = PLACES[0]

    def files(self) -> Dict[str, str]:
        """The workspace's files."""
        found = dict(FAMILY)
        found["low/text.txt"] = self.text + "\n"
        found["gen/number"] = f"{self.number}\n"
        found["low/Cargo.toml"] = FAMILY["low/Cargo.toml"].replace("0.1.0", self.version)
        found["low/src/lib.rs"] = "// " + "comment " * self.comment + "\n" + FAMILY["low/src/lib.rs"]
        found["low/src/lib.rs"] += "pub mod x;\npub mod y;\n"
        found["low/src/x.rs"], found["low/src/y.rs"] = (
            f"pub const N: char = '{name}';\n" for name in ("yx" if self.swapped else "xy")
        )
        found["mac/src/lib.rs"] = FAMILY["mac/src/lib.rs"].replace('join(",")', f'join("{self.separator}")')
        found["app/src/main.rs"] = """
            mod part;
            fn main() {
                println!("{} {} {:?} {} {}{} {} {}", low::say(), gen::NUMBER, low::setting(), part::listed(),
                    low::x::N, low::y::N, low::VERSION, cfg!(special));
            }
            """
        found["low/src/lib.rs"] += 'pub const VERSION: &str = env!("CARGO_PKG_VERSION");\n'
        if self.part_is_a_directory:
            found["app/src/part/mod.rs"] = found.pop("app/src/part.rs")
        del found["app/data/a.txt"]
        found.update({f"app/data/{name}": f"{text}\n" for name, text in self.data})
        return found

    def prints(self) -> str:
        """What the program prints."""
        said = self.text.upper() if self.loud else self.text
        setting = "None" if self.setting is None else f'Some("{self.setting}")'
        listed = self.separator.join(sorted(f"{name.partition('.')[0]}={text}" for name, text in self.data))
        letters = "yx" if self.swapped else "xy"
        special = str("special" in self.flags).lower()
        return f"{said} {self.number} {setting} {listed} {letters} {self.version} {special}\n"

    def words(self) -> List[str]:
        """Cargo's command line."""
        return ["build", *(["--release"] if self.release else []), *(["--features", "loud"] if self.loud else [])]

    def left_over(self, restored: Dict[str, bytes], fresh: Dict[str, bytes]) -> List[str]:
        """What a build may not leave beside what a build from an empty store leaves."""
        return sorted(restored.keys() - fresh.keys())

    def environment(self) -> Dict[str, Optional[str]]:
        return {"THE_SETTING": self.setting, "RUSTFLAGS": self.flags or None, "KACHE_CACHE_EXECUTABLES": "1"}


@dataclass
class Drive:
    """Changes a workspace at random and compares."""

    cargo: Cargo
    seed: int
    log: List[str] = field(default_factory=list)
    state: State = State()
    fresh: Dict[State, Dict[str, bytes]] = field(default_factory=dict)
    written: Dict[str, str] = field(default_factory=dict)
    hits: int = 0
    # what Cargo does not see in a target directory that it knows
    unseen: Tuple[str, ...] = ("data", "times", "same time")

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.ws = self.cargo.world.root / self.state.place
        self.write()
        changes = [name for name in dir(self) if name.startswith("change_")]
        self.changes: List[Callable[[], str]] = [getattr(self, name) for name in sorted(changes)]

    # changes: each returns what it did, beginning with the kind

    def vary(self, kind: str, **values: object) -> str:
        self.state = replace(self.state, **values)  # type: ignore[arg-type]
        return f"{kind}: {values}"

    def change_source(self) -> str:
        return self.vary("source", comment=self.chance.randrange(3))

    def change_text(self) -> str:
        return self.vary("text", text=self.chance.choice(TEXTS))

    def change_generated(self) -> str:
        return self.vary("generated", number=self.chance.choice((7, 8, 9)))

    def change_module_contents(self) -> str:
        return self.vary("swap", swapped=not self.state.swapped)

    def change_module_name(self) -> str:
        return self.vary("rename", part_is_a_directory=not self.state.part_is_a_directory)

    def change_listed_files(self) -> str:
        data = dict(self.state.data)
        name = self.chance.choice(("a.txt", "b.txt", "c.txt"))
        if name in data and self.chance.random() < 0.6:
            del data[name]
        else:
            data[name] = self.chance.choice("aou")
        return self.vary("data", data=tuple(sorted(data.items())))

    def change_macro(self) -> str:
        return self.vary("macro", separator=self.chance.choice((",", ";")))

    def change_version(self) -> str:
        return self.vary("version", version=self.chance.choice(("0.1.0", "0.1.1")))

    def change_variable(self) -> str:
        return self.vary("variable", setting=self.chance.choice((None, "", "on")))

    def change_features(self) -> str:
        return self.vary("features", loud=not self.state.loud)

    def change_profile(self) -> str:
        return self.vary("profile", release=not self.state.release)

    def change_flags(self) -> str:
        return self.vary("flags", flags=self.chance.choice(FLAGS))

    def change_place(self) -> str:
        place = self.chance.choice(PLACES)
        target = self.cargo.world.root / place
        if target != self.ws:
            target.parent.mkdir(parents=True, exist_ok=True)
            self.ws.rename(target)
            self.ws = target
        return self.vary("place", place=place)

    def change_all_back(self) -> str:
        """As `git checkout` does."""
        self.state = State(place=self.state.place)
        # which no Cargo sees where a listed file is among it
        return "data: all back"

    def change_times(self) -> str:
        """Of files whose content stays: what `git checkout`, `tar -x` and `touch` do."""
        names = self.chance.sample(sorted(self.written), 6)
        moment = self.chance.choice((1.0, time.time() - 86400, time.time()))
        for name in names:
            os.utime(self.ws / name, (moment, moment))
        return f"times: {names} {moment}"

    def change_without_a_trace(self) -> str:
        """Same size, same modification time, same inode."""
        path = self.ws / "low/text.txt"
        state = path.stat()
        text = self.chance.choice([text for text in TEXTS if text != self.state.text])
        path.write_text(text + "\n")
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        self.written["low/text.txt"] = text + "\n"
        return self.vary("same time", text=text)

    def change_store(self) -> str:
        """Something evicts, or damages, while nobody looks."""
        share = self.chance.choice((0.1, 0.5, 1.0))
        part = self.chance.choice(("store", "entries", "memo"))
        gone = 0
        for path in sorted((self.cargo.world.cache_dir / part).rglob("*")):
            if path.is_file() and self.chance.random() < share:
                path.unlink()
                gone += 1
        return f"store: {gone} of {part}"

    def change_to_an_error_and_back(self) -> str:
        """The build fails as it would alone, and nothing of that is kept."""
        name = self.chance.choice(("low/src/x.rs", "app/src/part.rs", "app/src/part/mod.rs", "gen/number"))
        path = self.ws / name
        before = path.read_bytes() if path.exists() else None
        path.parent.mkdir(exist_ok=True)
        path.write_text("no Rust, and no number\n")
        run = self.build("target", check=False)
        assert run.returncode == 101, f"{name} has an error\n{self.story()}"
        shutil.rmtree(self.ws / "target")
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)
        return f"error: in {name}"

    # comparison

    def step(self, number: int) -> None:
        """Change something and compare; an uncached build at every fifth step."""
        self.log.append(self.chance.choice(self.changes)())
        print(f"{number}: {self.log[-1]}", flush=True)
        self.write()
        if self.log[-1].partition(":")[0] in self.unseen:
            shutil.rmtree(self.ws / "kept", ignore_errors=True)
        assert self.printed("kept") == self.state.prints(), f"in the kept target directory\n{self.story()}"
        assert self.printed("target") == self.state.prints(), self.story()
        again = self.build("target", "-v")
        assert again.built() == set(), f"not Fresh\n{again.stderr}\n{self.story()}"
        self.after_build()
        restored = self.outputs()
        if self.state not in self.fresh:
            store = self.cargo.world.cache_dir
            store.rename(store.with_name("cache-aside"))
            assert self.printed("target") == self.state.prints(), f"from an empty store\n{self.story()}"
            self.fresh[self.state] = self.outputs()
            shutil.rmtree(store)
            store.with_name("cache-aside").rename(store)
        fresh = self.fresh[self.state]
        assert self.left_over(restored, fresh) == [], self.story()
        assert [name for name in fresh if fresh[name] != restored.get(name)] == [], self.story()
        if number % 5 == 0:
            assert self.printed("target", wrapper=False) == self.state.prints(), f"without kache\n{self.story()}"
            shutil.rmtree(self.ws / "target")

    def left_over(self, restored: Dict[str, bytes], fresh: Dict[str, bytes]) -> List[str]:
        """What a build may not leave beside what a build from an empty store leaves."""
        return sorted(restored.keys() - fresh.keys())

    def environment(self) -> Dict[str, Optional[str]]:
        """What the state's build sees."""
        return self.state.environment()

    def after_build(self) -> None:
        """What else is done while the target directory is there."""

    def write(self) -> None:
        """Write the files of the state that are not there yet, and remove those that are no more."""
        files = self.state.files()
        for name in sorted(self.written.keys() - files.keys()):
            (self.ws / name).unlink()
        changed = {name: text for name, text in files.items() if self.written.get(name) != text}
        self.cargo.world.workspace(changed, name=self.state.place)
        self.written = files

    def build(self, target: str, *more: str, wrapper: bool = True, check: bool = True) -> Run:
        env = {**self.environment(), "CARGO_TARGET_DIR": str(self.ws / target)}
        run = self.cargo(*self.state.words(), *more, cwd=self.ws, env=env, wrapper=wrapper)
        self.hits += run.count("local_hit")
        if check:
            assert run.returncode == 0, f"{run.stderr}\n{self.story()}"
        return run

    def printed(self, target: str, wrapper: bool = True) -> str:
        """Build, and run the program."""
        self.build(target, wrapper=wrapper)
        profile = "release" if self.state.release else "debug"
        return self.cargo.world.run([self.ws / target / profile / "app"]).ok().stdout

    def outputs(self) -> Dict[str, bytes]:
        """All that was built, without Cargo's notes; the target directory is gone then."""
        profile = "release" if self.state.release else "debug"
        found = contents(self.ws / "target" / profile)
        shutil.rmtree(self.ws / "target")
        return {name: content for name, content in found.items() if not name.startswith((".", "incremental"))}

    def story(self) -> str:
        """What led here."""
        now = {item.name: getattr(self.state, item.name) for item in fields(self.state)}
        return f"KACHE_TEST_SEED={self.seed}\n" + "\n".join(self.log) + f"\nnow: {now}"


@pytest.fixture
def kache(kache_file: Kache) -> Kache:
    """Only as it ships."""
    return kache_file


def drive(cargo: Cargo, seed: int, steps: int) -> None:
    print(f"KACHE_TEST_SEED={seed}", flush=True)
    found = Drive(cargo, seed)
    for number in range(steps):
        found.step(number)
    assert found.hits > steps, "it was about hits"


def test_random_edits(cargo: Cargo) -> None:
    seed = int(SEED) if SEED else 1 if IN_CI else random.randrange(1 << 32)
    drive(cargo, seed, 30)


@pytest.mark.soak
@pytest.mark.parametrize("turn", range(4))
def test_random_edits_for_long(cargo: Cargo, turn: int) -> None:
    seed = int(SEED) + turn if SEED else random.randrange(1 << 32)
    drive(cargo, seed, 250)


def test_the_states_say_what_the_program_prints(cargo: Cargo, workspace: Callable[..., Path]) -> None:
    """Without kache: the measure that the random test compares with."""
    state = State(loud=True, setting="on", flags="--cfg special", swapped=True, data=(("b.txt", "o"), ("c.txt", "u")))
    ws = workspace(state.files())
    cargo(*state.words(), cwd=ws, env=state.environment(), wrapper=False).ok()
    assert cargo.world.run([ws / "target/debug/app"]).ok().stdout == state.prints()
