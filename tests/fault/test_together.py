"""Several at once: cargos and wrappers on one store, gc, purge and ``rm -rf`` beside a build."""

import collections
import contextlib
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Callable, Dict, Iterator, List

import pytest

from tests.fault.compilers import odd
from tests.fault.crate import Crate, remove
from tests.world import Cargo, Event, Kache, World

MACRO = """
    use proc_macro::TokenStream;
    #[proc_macro]
    pub fn seven(_: TokenStream) -> TokenStream { "7u64".parse().unwrap() }
"""

PACKAGE = '[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n'


def files() -> Dict[str, str]:
    """A workspace with every kind of unit: libraries on libraries, a build script, a proc macro, a program."""
    found = {
        "Cargo.toml": '[workspace]\nresolver = "2"\nmembers = ["app", "mac", "gen", "l?"]\n',
        "mac/Cargo.toml": PACKAGE.format(name="mac") + "[lib]\nproc-macro = true\n",
        "mac/src/lib.rs": MACRO,
        "gen/Cargo.toml": PACKAGE.format(name="gen"),
        "gen/build.rs": """
            fn main() {
                println!("cargo:rerun-if-changed=build.rs");
                let out = std::env::var("OUT_DIR").unwrap();
                std::fs::write(std::path::Path::new(&out).join("n.rs"), "pub const N: u64 = 100;").unwrap();
            }
        """,
        "gen/src/lib.rs": 'include!(concat!(env!("OUT_DIR"), "/n.rs"));\n',
        "app/Cargo.toml": PACKAGE.format(name="app")
        + "[dependencies]\n"
        + "".join(f'{name} = {{ path = "../{name}" }}\n' for name in ("mac", "gen", "l5", "l4", "l3")),
        "app/src/main.rs": 'fn main() { println!("{}", mac::seven!() + gen::N + l5::v() + l4::v() + l3::v()); }\n',
    }
    for n in range(6):
        below = f'[dependencies]\nl{n - 3} = {{ path = "../l{n - 3}" }}\n' if n >= 3 else ""
        found[f"l{n}/Cargo.toml"] = PACKAGE.format(name=f"l{n}") + below
        value = f"{n}" + (f" + l{n - 3}::v()" if n >= 3 else "")
        filler = "".join(f'pub fn f{i}(x: u64) -> String {{ format!("{{:?}} {n} {i}", x) }}\n' for i in range(20))
        found[f"l{n}/src/lib.rs"] = f"pub fn v() -> u64 {{ {value} }}\n{filler}"
    return found


# 7 + 100 + (5 + 2) + (4 + 1) + (3 + 0)
PRINTS = "122\n"
UNITS = {"mac": 1, "gen": 1, "build_script_build": 1, "app": 1, **{f"l{n}": 1 for n in range(6)}}

EXECUTABLES = {"KACHE_CACHE_EXECUTABLES": "true"}


@pytest.fixture
def cargo_file(world: World, kache_file: Kache) -> Cargo:
    """Cargo with dist/kache."""
    return Cargo(world, kache_file)


def compiled(events: List[Event]) -> Dict[str, int]:
    """How often a compiler ran for each crate."""
    counts: Dict[str, int] = collections.Counter()
    for event in events:
        counts[str(event["crate_name"])] += int(event["compiler_runs"])
    return dict(counts)


def start_build(world: World, kache: Kache, place: Path, target: Path, **env: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        ["cargo", "build", "-q", "--target-dir", str(target)],
        cwd=place,
        stderr=subprocess.PIPE,
        env={**world.env, "RUSTC_WRAPPER": str(kache.path), **EXECUTABLES, **env},
    )


def prints(target: Path) -> str:
    done = subprocess.run([str(target / "debug" / "app")], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("places", ["two targets", "two checkouts"])
def test_two_cargos_on_one_empty_store(world: World, kache_file: Kache, places: str) -> None:
    """Each unit is compiled once: the other waits for it and restores."""
    first = world.workspace(files(), "one")
    second = first if places == "two targets" else world.workspace(files(), "two")
    targets = [world.root / "target-1", world.root / "target-2"]
    builds = [start_build(world, kache_file, *pair) for pair in zip((first, second), targets)]
    for build in builds:
        _, stderr = build.communicate(timeout=300)
        assert build.returncode == 0, stderr.decode()
    for target in targets:
        assert prints(target) == PRINTS
    assert compiled(world.events()) == UNITS
    ones = {path.name: path.read_bytes() for path in (targets[0] / "debug" / "deps").glob("*.rlib")}
    others = {path.name: path.read_bytes() for path in (targets[1] / "debug" / "deps").glob("*.rlib")}
    if places == "two targets":
        assert ones == others


def test_both_are_fresh_afterwards(world: World, kache_file: Kache, cargo_file: Cargo) -> None:
    """Neither build made the other's target stale."""
    place = world.workspace(files())
    targets = [world.root / "target-1", world.root / "target-2"]
    for build in [start_build(world, kache_file, place, target) for target in targets]:
        assert build.wait(timeout=300) == 0
    for target in targets * 2:
        again = cargo_file("build", "-v", "--target-dir", target, cwd=place, env=EXECUTABLES).ok()
        assert again.built() == set(), again.stderr


def start_many(crate: Crate, count: int) -> "List[subprocess.Popen[bytes]]":
    """The same compile ``count`` times at once, each into a directory of its own: rustc itself fails to share one."""
    processes = []
    for number in range(count):
        out = directory(crate, number)
        out.mkdir(parents=True, exist_ok=True)
        crate.more = ["--out-dir", str(out)]
        processes.append(crate.start())
    crate.more = []
    return processes


def end_many(crate: Crate, processes: "List[subprocess.Popen[bytes]]") -> None:
    """Wait for them, and look at what each left."""
    good = crate.good()[1].files
    for number, process in enumerate(processes):
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
        found = {path.name: path.read_bytes() for path in directory(crate, number).iterdir()}
        assert found.keys() == good.keys()
        assert found["libx-1.rlib"] == good["libx-1.rlib"]
        assert found["libx-1.rmeta"] == good["libx-1.rmeta"]


def directory(crate: Crate, number: int) -> Path:
    return crate.directory / "target" / f"p{number}" / "deps"


def test_sixty_four_wrappers_on_one_key(crate: Crate, world: World) -> None:
    """One compile and 63 hits."""
    odd(crate, before="sleep 0.3")
    end_many(crate, start_many(crate, 64))
    assert collections.Counter(event["result"] for event in world.events()) == {"miss": 1, "local_hit": 63}
    crate.check_hit()


def test_sixty_four_first_starts(crate: Crate, world: World) -> None:
    """No store, no unpacked native module: everything is made by 64 at once, and by each whole or not at all."""
    shutil.rmtree(world.home / ".cache", ignore_errors=True)
    end_many(crate, start_many(crate, 64))
    assert collections.Counter(event["result"] for event in world.events()) == {"miss": 1, "local_hit": 63}
    crate.check_hit()


@contextlib.contextmanager
def looping(action: Callable[[], None]) -> Iterator[List[int]]:
    """Do something over and over meanwhile; yields how often it was done."""
    done = [0]
    ended = threading.Event()
    failures: List[BaseException] = []

    def loop() -> None:
        try:
            while not ended.is_set():
                action()
                done[0] += 1
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield done
    finally:
        ended.set()
        thread.join()
    if failures:
        raise failures[0]


def command_loop(world: World, kache: Kache, *words: str) -> Callable[[], None]:
    """Run a command of kache; it must not fail, whatever the builds do."""

    def run() -> None:
        done = subprocess.run(
            [str(kache.path), *words],
            env=world.env,
            cwd=world.root,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr, done
        assert done.returncode in (0, 1), done

    return run


def builds_beside(world: World, kache: Kache, cargo: Cargo, action: Callable[[], None], rounds: int) -> None:
    """Build again and again, two at a time, while ``action`` is done in a loop; then all is as ever."""
    place = world.workspace(files())
    targets = [world.root / "target-1", world.root / "target-2"]
    with looping(action) as done:
        for _ in range(rounds):
            for target in targets:
                remove(target)
            builds = [start_build(world, kache, place, target) for target in targets]
            for build, target in zip(builds, targets):
                _, stderr = build.communicate(timeout=300)
                assert build.returncode == 0, stderr.decode()
                assert prints(target) == PRINTS
    assert done[0] > 2
    for target in targets:
        again = cargo("build", "-v", "--target-dir", target, cwd=place, env=EXECUTABLES).ok()
        assert again.built() == set(), again.stderr
    remove(targets[0])
    cargo("build", "--target-dir", targets[0], cwd=place, env=EXECUTABLES).ok()
    remove(targets[0])
    last = cargo("build", "--target-dir", targets[0], cwd=place, env=EXECUTABLES).ok()
    assert prints(targets[0]) == PRINTS
    assert last.count("local_hit") == len(UNITS), last.results()


COMMANDS: Dict[str, List[str]] = {
    "gc": ["gc", "--max-size", "100KiB"],
    "gc by age": ["gc", "--max-age", "0s"],
    "purge": ["purge"],
    "purge one": ["purge", "--crate-name", "l1"],
    "repair": ["doctor", "--checksums", "--repair"],
}


@pytest.mark.parametrize("command", ["gc", "purge", "repair"])
def test_builds_beside_a_command(world: World, kache_file: Kache, cargo_file: Cargo, command: str) -> None:
    builds_beside(world, kache_file, cargo_file, command_loop(world, kache_file, *COMMANDS[command]), 2)


def test_builds_beside_rm(world: World, kache_file: Kache, cargo_file: Cargo) -> None:
    builds_beside(world, kache_file, cargo_file, lambda: shutil.rmtree(world.cache_dir, ignore_errors=True), 2)


@pytest.mark.soak
@pytest.mark.parametrize("command", list(COMMANDS))
def test_builds_beside_a_command_for_long(world: World, kache_file: Kache, cargo_file: Cargo, command: str) -> None:
    builds_beside(world, kache_file, cargo_file, command_loop(world, kache_file, *COMMANDS[command]), 25)


@pytest.mark.soak
def test_builds_beside_rm_for_long(world: World, kache_file: Kache, cargo_file: Cargo) -> None:
    builds_beside(world, kache_file, cargo_file, lambda: shutil.rmtree(world.cache_dir, ignore_errors=True), 25)


@pytest.mark.parametrize("what", ["rm store", "rm entries", "rm all", "gc", "purge"])
def test_hits_beside_a_loop(crate: Crate, world: World, kache_file: Kache, what: str) -> None:
    """One crate over and over while what it restores from goes away under it: hit or compile, never wrong."""
    actions: Dict[str, Callable[[], None]] = {
        "rm store": lambda: shutil.rmtree(world.cache_dir / "store", ignore_errors=True),
        "rm entries": lambda: shutil.rmtree(world.cache_dir / "entries", ignore_errors=True),
        "rm all": lambda: shutil.rmtree(world.cache_dir, ignore_errors=True),
        "gc": command_loop(world, kache_file, "gc", "--max-size", "1B"),
        "purge": command_loop(world, kache_file, "purge"),
    }
    crate.good()
    with looping(actions[what]):
        for _ in range(25):
            crate.check(crate.compile())
    crate.check_next()


def test_two_configurations_take_turns(crate: Crate) -> None:
    """Candidates of one action do not push each other out: an edit and its undoing both stay."""
    texts = [f"pub fn answer() -> u32 {{ {n} }}\n" for n in range(5)]
    for text in texts:
        crate.write(text)
        crate.check(crate.compile())
    for text in texts:
        crate.write(text)
        crate.check_hit()


def test_events_of_many_are_whole_lines(crate: Crate, world: World) -> None:
    crate.check(crate.compile())
    for _ in range(3):
        end_many(crate, start_many(crate, 16))
    assert sum(event["result"] == "local_hit" for event in world.events()) == 48
