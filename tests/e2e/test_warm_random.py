"""Random edits again, in target directories that are warmed: after each, a build is what a build without kache is.

The steps are those of test_random.py and more: here whole units come back from snapshots that earlier steps left, so
that generations of everything meet in one plan. After each step, in a new target directory, the program prints what
the sources say, a second build finds all Fresh, and each file is, byte for byte, what a build from an empty store
leaves at this place, and Cargo is told to watch nothing in another checkout. A target directory that is kept over
steps, warmed while it was new, follows what Cargo can see.

    KACHE_TEST_SEED=7 KACHE_TEST_STEPS=40 python -m pytest tests/e2e/test_warm_random.py -k edits

repeats a run, and a failure says which. Without a seed CI takes the first numbers, everybody else random ones; the
tests of `make soak` share KACHE_TEST_STEPS steps, 10,000 unless told otherwise.
"""

import hashlib
import os
import random
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Callable, Dict, List, Optional

import pytest

from tests.conftest import IN_CI
from tests.e2e.rustc import contents
from tests.e2e.test_random import PLACES, SEED, Drive
from tests.e2e.warm_family import (
    COMPILERS,
    LINKERS,
    WarmState,
    check_out,
    make_commits,
    make_registry,
    make_tools,
)
from tests.world import REPOSITORY, Cargo, Kache, Run

STEPS = os.environ.get("KACHE_TEST_STEPS", "")
# They share 300 steps, and as many workers can be at it.
TURNS = 1 if SEED else 6
SOAK_TURNS = 1 if SEED else 20
HOMES = ("home/.cargo", "other-cargo")

# Changes of files alone, which Cargo sees by their times.
OF_FILES = (
    "change_c_source change_generated change_macro change_module_contents change_shared change_source change_text "
    "change_vendored_text change_listed_files change_extra"
).split()

OF_SURROUNDINGS = "change_c_flags change_commit change_compiler change_keyed change_linker change_salt".split()
OF_NO_STATE = ("ahead", "error", "kept", "store", "times")

# What Cargo does not see in a target directory that it knows: these parts of a state, and what these changes do.
UNSEEN = "bootstrap c_flags commit compiler data extra keyed linker salt vendored_text".split()
UNSEEN_KINDS = ("ahead", "same time", "times")


@dataclass
class WarmDrive(Drive):
    """The same drive, with target directories that are warmed, and units that are kept after every step."""

    state: WarmState = field(default_factory=WarmState)
    past: List[WarmState] = field(default_factory=list)
    known: Dict[WarmState, Dict[str, bytes]] = field(default_factory=dict)
    builds: int = 0
    warmed: int = 0
    units: int = 0

    def __post_init__(self) -> None:
        world = self.cargo.world
        self.host = world.run(["rustc", "-vV"]).ok().stdout.partition("host: ")[2].split()[0]
        make_tools(world.root)
        make_registry(world, list(HOMES))
        (world.root / "ld").mkdir()
        super().__post_init__()
        # Generations meet where the same build comes again, after others.
        more = [*OF_FILES, *OF_SURROUNDINGS, *OF_SURROUNDINGS, *4 * ["change_place"], *24 * ["change_back"]]
        self.changes += [getattr(self, name) for name in more]
        self.commits = make_commits(world, self.ws)
        self.surround()

    # changes: each returns what it did, beginning with the kind

    def change_profile(self) -> str:
        return self.vary("profile", profile=self.chance.choice(("dev", "dev", "release", "tuned")))

    def change_triple(self) -> str:
        return self.vary("triple", triple=not self.state.triple)

    def change_mode(self) -> str:
        """Mostly there and back: only a build can be run."""
        return self.vary("mode", mode="build" if self.state.mode != "build" else self.chance.choice(("check", "test")))

    def change_compiler(self) -> str:
        return self.vary("compiler", compiler=self.chance.choice(COMPILERS))

    def change_linker(self) -> str:
        return self.vary("linker", linker=self.chance.choice(LINKERS))

    def change_c_source(self) -> str:
        return self.vary("c", c_add=self.chance.choice((0, 5)))

    def change_c_flags(self) -> str:
        return self.vary("compiler", c_flags=self.chance.choice((None, "-DFLAG=100")))

    def change_undeclared(self) -> str:
        return self.vary("undeclared", undeclared=self.chance.choice(("soft", "loud")))

    def change_shared(self) -> str:
        return self.vary("shared", shared=self.chance.choice("st"))

    def change_registered_version(self) -> str:
        return self.vary("registered", registered=self.chance.choice((0, 1)))

    def change_vendored_version(self) -> str:
        return self.vary("vendored", vendored=self.chance.choice((0, 1)))

    def change_vendored_text(self) -> str:
        return self.vary("vendored text", vendored_text=self.chance.choice("vw"))

    def change_patch(self) -> str:
        return self.vary("patched", patched=not self.state.patched)

    def change_salt(self) -> str:
        return self.vary("salt", salt=self.chance.choice(("", "pepper")))

    def change_keyed(self) -> str:
        return self.vary("keyed", keyed=self.chance.choice((None, "1", "2")))

    def change_declared(self) -> str:
        return self.vary("declared", declared=self.chance.choice((None, "1", "2")))

    def change_extra(self) -> str:
        return self.vary("extra", extra=self.chance.choice("12"))

    def change_commit(self) -> str:
        return self.vary("commit", commit=1 - self.state.commit)

    def change_bootstrap(self) -> str:
        return self.vary("bootstrap", bootstrap=not self.state.bootstrap)

    def change_cargo_home(self) -> str:
        return self.vary("cargo home", cargo_home=self.chance.choice(HOMES))

    def change_back(self) -> str:
        """To what one of the last steps was, wherever the checkout lies now."""
        self.state = replace(self.chance.choice(self.past[-5:] or [self.state]), place=self.state.place)
        return "back"

    def change_all_back(self) -> str:
        self.state = WarmState(place=self.state.place)
        return "all back"

    def change_place(self) -> str:
        """The checkout moves, or another one is made and the old one stays; it may be there from before."""
        place = self.chance.choice(PLACES)
        target = self.cargo.world.root / place
        stays = self.chance.random() < 0.5
        if target != self.ws:
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            if stays:
                shutil.copytree(self.ws, target, ignore=shutil.ignore_patterns("kept"))
            else:
                self.ws.rename(target)
            self.ws = target
        return self.vary("place", place=place) + (", the old one stays" if stays else "")

    def change_without_a_trace(self) -> str:
        """Contents change, and sizes and modification times do not."""
        before = {name: (self.ws / name).stat() for name in self.written}
        text: str = getattr(self, self.chance.choice(OF_FILES))()
        self.write()
        for name in self.written.keys() & before.keys():
            os.utime(self.ws / name, ns=(before[name].st_atime_ns, before[name].st_mtime_ns))
        return f"same time: {text}"

    def change_all_times(self) -> str:
        """Every file of the workspace at once, far in the past or just now."""
        moment = self.chance.choice((1.0, 1e9, None))
        for name in self.written:
            os.utime(self.ws / name, None if moment is None else (moment, moment))
        return f"times: all {moment}"

    def change_clock(self) -> str:
        """All that was ever written, here and in the cache, is of tomorrow: the clock was set back."""
        shutil.rmtree(self.ws / "kept", ignore_errors=True)
        self.shift(86400)
        return "ahead: a day"

    def change_kept_in_part(self) -> str:
        """Somebody removes some of what Cargo misses when it is gone."""
        parts = sorted((self.ws / "kept").glob("**/.fingerprint/*")) + sorted((self.ws / "kept").glob("**/deps/*.r*"))
        gone = self.chance.choice((0.1, 0.5))
        thinning = random.Random(self.chance.random())
        for path in parts:
            if thinning.random() < gone:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return f"kept: {gone} gone"

    def change_store(self) -> str:
        """Something evicts, while nobody looks."""
        share = self.chance.choice((0.1, 0.5, 1.0))
        part = self.chance.choice(("store", "entries", "memo", "units", "plans"))
        return f"store: {self.spoil(part, share, lambda path, _: path.unlink())} of {part} gone"

    def change_records(self) -> str:
        """Records and plans are damaged."""
        share = self.chance.choice((0.1, 0.5))
        part = self.chance.choice(("entries", "units", "plans"))

        def flip(path: Path, chance: random.Random) -> None:
            data = bytearray(path.read_bytes())
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            path.write_bytes(bytes(data))

        return f"store: {self.spoil(part, share, flip)} of {part} damaged"

    def change_blobs(self) -> str:
        """Some blobs are cut."""

        def cut(path: Path, _: random.Random) -> None:
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data[: len(data) // 2])

        return f"store: {self.spoil('store', 0.1, cut)} cut"

    def spoil(self, part: str, share: float, how: Callable[[Path, random.Random], None]) -> int:
        """Do something to a share of the files; which, does not move what chance says later."""
        chance = random.Random(self.chance.random())
        paths = sorted(path for path in (self.cargo.world.cache_dir / part).rglob("*") if path.is_file())
        hit = [path for path in paths if chance.random() < share]
        for path in hit:
            how(path, chance)
        return len(hit)

    def shift(self, seconds: int) -> None:
        """Move the times of all files that this world has."""
        for base in (self.ws, self.cargo.world.cache_dir):
            for path in base.rglob("*"):
                if not path.is_symlink():
                    moment = path.stat().st_mtime + seconds
                    os.utime(path, (moment, moment))

    # comparison

    def step(self, number: int) -> None:
        """Change something, build, compare."""
        before = self.state
        text = self.chance.choice(self.changes)()
        while self.state == before and text.partition(":")[0] not in OF_NO_STATE:
            text = self.chance.choice(self.changes)()
        self.log.append(text)
        print(f"{number}: {self.log[-1]}", flush=True)
        self.write()
        self.surround()
        kind = self.log[-1].partition(":")[0]
        self.past.append(before)
        unseen = any(getattr(before, name) != getattr(self.state, name) for name in UNSEEN)
        if unseen or kind in UNSEEN_KINDS:
            shutil.rmtree(self.ws / "kept", ignore_errors=True)
        if number % 2 and kind != "ahead":
            self.build_and_run("kept", "in the kept target directory")
        if self.chance.random() < 0.2:
            self.kache("warm")
        self.build_and_run("target", "")
        if kind == "ahead":
            # Cargo takes what lies in the future for changed, and kache keeps nothing of it.
            for name in self.written:
                os.utime(self.ws / name)
            shutil.rmtree(self.ws / "target")
            return
        again = self.build("target", "-v")
        assert again.built() == set(), f"not Fresh\n{again.stderr}\n{self.story()}"
        self.check_notes()
        self.kache("save")
        self.compare()
        if number % 25 == 0:
            self.build_and_run("target", "without kache", wrapper=False)
            shutil.rmtree(self.ws / "target")

    def check_notes(self) -> None:
        """Whatever Cargo will watch lies in this checkout, and in no other that it came from."""
        others = [os.fsencode(self.cargo.world.root / place) for place in PLACES if place != self.state.place]
        for directory in self.directories("target"):
            for path in directory.glob(".fingerprint/*/dep-*"):
                data = path.read_bytes()
                assert not any(other in data for other in others), f"{path} names another checkout\n{self.story()}"

    def compare(self) -> None:
        """The target directory is byte for byte what a build from an empty store leaves. It is gone then."""
        found = self.digests()
        if self.state not in self.known:
            self.build_and_run("target", "from an empty store", empty=True)
            self.known[self.state] = self.digests()
        fresh = self.known[self.state]
        # All that is kept of a profile comes back, so units with other features lie beside those of this build.
        more = [name.split("/")[1:] for name in found.keys() - fresh.keys()]
        assert all(len(parts) == 1 or parts[0] in ("build", "deps") for parts in more), f"{more}\n{self.story()}"
        other = [name for name in fresh if fresh[name] != found.get(name)]
        assert other == [], f"not what an empty store gives\n{self.story()}"

    def digests(self) -> Dict[str, bytes]:
        """All that was built, without Cargo's notes; the target directory is gone then."""
        found = {}
        for directory in self.directories("target"):
            for name, content in contents(directory).items():
                if not name.startswith((".", "incremental")):
                    found[f"{directory.parent.name}/{name}"] = hashlib.blake2b(content).digest()
        shutil.rmtree(self.ws / "target")
        return found

    def directories(self, target: str) -> List[Path]:
        """The profile's directories, that of the program last."""
        name = "debug" if self.state.profile == "dev" else self.state.profile
        found = [self.ws / target / name]
        return [*found, self.ws / target / self.host / name] if self.state.triple else found

    def build_and_run(self, target: str, what: str, wrapper: bool = True, empty: bool = False) -> None:
        """Build, and compare what the program prints."""
        if empty:
            store = self.cargo.world.root / "empty"
            self.build(target, env={"KACHE_CACHE_DIR": str(store), "KACHE_WARM_TARGETS": "0"})
            shutil.rmtree(store)
        else:
            self.build(target, wrapper=wrapper)
        if self.state.mode == "build":
            said = self.cargo.world.run([self.directories(target)[-1] / "app"]).ok().stdout
            assert said == self.state.prints_with(self.commits), f"{what}\n{self.story()}"

    def build(
        self,
        target: str,
        *more: str,
        wrapper: bool = True,
        check: bool = True,
        env: Optional[Dict[str, str]] = None,
    ) -> Run:
        variables = {**self.environment(), "CARGO_TARGET_DIR": str(self.ws / target)}
        variables.update(env or {})
        run = self.cargo(*self.state.command(self.host), *more, cwd=self.ws, env=variables, wrapper=wrapper)
        if check:
            assert run.returncode == 0, f"{run.stderr}\n{self.story()}"
        self.count(run)
        self.builds += target == "target" and not more
        return run

    def count(self, run: Run) -> None:
        found = sum(int(event["warmed"]) for event in run.events if event["result"] == "warmed")
        self.warmed += found > 0
        self.units += found

    def kache(self, command: str) -> None:
        """`kache save`, `kache warm`."""
        env = {**self.environment(), "CARGO_TARGET_DIR": str(self.ws / "target")}
        run = self.cargo.world.run(
            [self.cargo.kache.path, command, *self.state.options(self.host)], cwd=self.ws, env=env
        )
        assert run.returncode == 0, f"{run.stderr}\n{self.story()}"
        self.count(run)

    def surround(self) -> None:
        """Make what lies around the workspace as the state says."""
        linker = self.cargo.world.root / "ld" / "cc"
        wanted = self.cargo.world.root / f"ld-{self.state.linker}" / "cc"
        if not linker.exists() or linker.read_bytes() != wanted.read_bytes():
            shutil.copy(wanted, linker.with_name("new"))
            linker.with_name("new").rename(linker)
        if (self.ws / ".git/HEAD").read_text() != self.commits[self.state.commit] + "\n":
            check_out(self.ws, self.commits[self.state.commit])

    def environment(self) -> Dict[str, Optional[str]]:
        """The state's, with what only this world knows."""
        root = self.cargo.world.root
        named = self.state.compiler == max(COMPILERS)
        return {
            **self.state.environment(),
            "CC": f"{root}/cc-{self.state.compiler}/cc" if named else None,
            "PATH": f"{root}/cc-{1 if named else self.state.compiler}:{self.cargo.world.env['PATH']}",
            "CARGO_HOME": str(root / self.state.cargo_home),
            f"CARGO_TARGET_{self.host.upper().replace('-', '_')}_LINKER": f"{root}/ld/cc",
        }

    def story(self) -> str:
        """What led here, and how to come here again."""
        variables = f"KACHE_TEST_SEED={self.seed} KACHE_TEST_STEPS={len(self.log)}"
        command = f"python -m pytest {Path(__file__).relative_to(REPOSITORY)} -k edits"
        return f"{super().story()}\nto run this again: {variables} {command}"


@pytest.fixture
def kache(kache_file: Kache) -> Kache:
    """Only as it ships."""
    return kache_file


def drive(cargo: Cargo, seed: int, steps: int) -> None:
    print(f"KACHE_TEST_SEED={seed} KACHE_TEST_STEPS={steps}", flush=True)
    found = WarmDrive(cargo, seed)
    began = time.monotonic()
    for number in range(steps):
        found.step(number)
    took = time.monotonic() - began
    said = f"{found.warmed} of {found.builds} builds were warmed, with {found.units} units"
    print(f"{steps} steps, {took / steps:.2f} s each; {said}")
    assert found.warmed > found.builds / 4, said


@pytest.mark.parametrize("turn", range(TURNS))
def test_random_edits_of_warm_targets(cargo: Cargo, turn: int) -> None:
    seed = int(SEED) if SEED else turn + 1 if IN_CI else random.randrange(1 << 32)
    drive(cargo, seed, int(STEPS) if SEED and STEPS else 50)


@pytest.mark.soak
@pytest.mark.parametrize("turn", range(SOAK_TURNS))
def test_random_edits_of_warm_targets_for_long(cargo: Cargo, turn: int) -> None:
    drive(cargo, int(SEED) if SEED else random.randrange(1 << 32), int(STEPS or 10_000) // SOAK_TURNS)


def test_the_states_say_what_the_program_prints(cargo: Cargo) -> None:
    """Without kache: the measure that the random test compares with."""
    found = WarmDrive(cargo, 1)
    for state in (
        replace(found.state, compiler=2, c_add=5, undeclared="loud", vendored=1, patched=True, commit=1),
        replace(found.state, compiler=3, c_flags="-DFLAG=100", keyed="1", declared="2", salt="pepper", bootstrap=True),
    ):
        found.state = state
        found.write()
        found.surround()
        found.build_and_run("target", "", wrapper=False)
        shutil.rmtree(found.ws / "target")
