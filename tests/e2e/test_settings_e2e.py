"""What settings do to a build: exclusion, declared inputs, a second store, kache turned off, packages of a registry."""

import shutil
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import pytest

from tests.e2e.family import FAMILY, MEMBER, PRINTS
from tests.e2e.registry import local_registry, replaced_by, vendored
from tests.e2e.rustc import OUT, Rustc, Spy, contents, hit, result, results
from tests.world import Cargo, Kache, Run, World

LIB = {"src/lib.rs": "pub fn one() -> u32 { 1 }\n"}
EXECUTABLES = {"KACHE_CACHE_EXECUTABLES": "1"}


@pytest.fixture
def kache(kache_file: Kache) -> Kache:
    """Only as it ships."""
    return kache_file


def entries(world: World) -> List[Path]:
    return sorted((world.cache_dir / "entries").glob("*/*"))


# cache.exclude


@pytest.mark.parametrize(
    ("pattern", "excluded"),
    [
        ("crates/odd/**", True),
        ("crates/*/src/lib.rs", True),
        ("crates/odd/src/lib.rs", True),
        ("**/odd/**", True),
        ("**/lib.rs", True),
        ("{ws}/crates/odd/**", True),
        ("{ws}/**/lib.rs", True),
        ("$PLACE/crates/odd/**", True),
        ("${{PLACE}}/crates/**", True),
        ("~/../ws/crates/odd/**", True),
        ("crates/even/**", False),
        ("crates/od/**", False),
        ("odd/**", False),
        ("crates/*", False),
        ("lib.rs", False),
        ("$NO_SUCH_PLACE/crates/odd/**", False),
        ("{ws}/crates/even/**", False),
    ],
)
def test_what_a_pattern_excludes(rustc: Rustc, workspace: Callable[..., Path], pattern: str, excluded: bool) -> None:
    """Its own source, relative to the directory of the build or absolute; excluded means compiled every time."""
    ws = workspace({"crates/odd/src/lib.rs": LIB["src/lib.rs"]})
    text = pattern.format(ws=ws)
    (ws / ".kache.toml").write_text(f"[cache]\nexclude = ['''{text}''']\n")
    env = {"PLACE": str(ws)}
    found = [result(rustc(ws, "a", package="crates/odd", env=env).ok()) for _ in range(2)]
    assert found == (["skipped"] * 2 if excluded else ["miss", "local_hit"])
    assert bool(entries(rustc.world)) is not excluded
    if excluded:
        (ws / ".kache.toml").unlink()
        assert not hit(rustc(ws, "a", package="crates/odd", env=env)), "nothing was stored while it was excluded"


def test_an_excluded_crate_is_compiled_and_what_hangs_on_it_hits(cargo: Cargo, workspace: Callable[..., Path]) -> None:
    """By a pattern relative to the workspace root, though Cargo was called in a member's directory."""
    ws = workspace({**FAMILY, ".kache.toml": '[cache]\nexclude = ["low/**"]\n'})
    found: Dict[str, List[str]] = {}
    for _ in range(2):
        shutil.rmtree(ws / "target", ignore_errors=True)
        # incremental compiles, which excluded ones stay, give other bytes each time
        found = cargo("build", cwd=ws / "app", env={**EXECUTABLES, "CARGO_INCREMENTAL": "0"}).ok().results()
        assert cargo.world.run([ws / "target/debug/app"]).ok().stdout == PRINTS
    assert found["low"] == ["skipped"]
    assert found["app"] == found["gen"] == found["mac"] == ["local_hit"]


def test_cargo_home_is_known_where_it_is_not_set(cargo: Cargo, workspace: Callable[..., Path]) -> None:
    """``$CARGO_HOME`` falls back to ``~/.cargo``, so that registry packages can be excluded everywhere."""
    package = {"Cargo.toml": MEMBER.format("oddity").replace("0.1.0", "1.0.0"), "src/lib.rs": "pub const N: u8 = 1;\n"}
    registry = local_registry(cargo.world.root / "registry", "oddity", package)
    ws = workspace(
        {
            "Cargo.toml": MEMBER.format("app") + '[dependencies]\noddity = "1"\n',
            "src/lib.rs": "pub use oddity::N;\n",
            ".cargo/config.toml": replaced_by("local-registry", registry),
            ".kache.toml": "[cache]\nexclude = ['$CARGO_HOME/registry/src/**/oddity-*/**']\n",
        }
    )
    run = cargo("build", cwd=ws, env={"CARGO_HOME": None}).ok()
    assert run.results()["oddity"] == ["skipped"]
    assert run.results()["app"] == ["miss"]


# packages of a registry


@pytest.mark.parametrize("arrangement", ["as usual", "target elsewhere", "called from elsewhere", "vendored outside"])
def test_the_projects_configuration_holds_for_packages_of_a_registry(
    cargo: Cargo, workspace: Callable[..., Path], arrangement: str
) -> None:
    """Cargo compiles those in their own directory, far from the project."""
    world = cargo.world
    package = {"Cargo.toml": MEMBER.format("oddity").replace("0.1.0", "1.0.0"), "src/lib.rs": "pub const N: u8 = 1;\n"}
    if arrangement == "vendored outside":
        source = replaced_by("directory", vendored(world.root / "vendor", "oddity", package))
    else:
        source = replaced_by("local-registry", local_registry(world.root / "registry", "oddity", package))
    (world.home / ".cargo/config.toml").write_text(source)
    store = world.root / "projects-store"
    ws = workspace(
        {
            "Cargo.toml": MEMBER.format("app") + '[dependencies]\noddity = "1"\n',
            "src/lib.rs": "pub use oddity::N;\n",
            ".kache.toml": f'[cache]\nlocal_store = "{store}"\n',
        }
    )
    env: Dict[str, Optional[str]] = {"KACHE_CACHE_DIR": None}
    if arrangement == "target elsewhere":
        env["CARGO_TARGET_DIR"] = str(world.root / "out")
    elsewhere = arrangement == "called from elsewhere"
    words = ["build", "--manifest-path", str(ws / "Cargo.toml")] if elsewhere else ["build"]
    cargo(*words, cwd=world.root if elsewhere else ws, env=env).ok()
    assert len(list((store / "entries").glob("*/*"))) == 2
    assert not (world.home / ".cache/kache/entries").exists()


def test_a_vendored_package_is_believed_by_content(cargo: Cargo, workspace: Callable[..., Path]) -> None:
    """People patch what they vendor. A macro's listing inside it counts as well."""
    files = {name[4:]: text for name, text in FAMILY.items() if name.startswith("mac/")}
    mac = vendored(cargo.world.root / "vendor", "mac", files)
    user = {
        "Cargo.toml": MEMBER.format("user") + '[dependencies]\nmac = "0.1"\n',
        "src/lib.rs": 'pub fn listed() -> &\'static str { mac::list!("data") }\n',
        "data/a.txt": "1\n",
    }
    vendored(cargo.world.root / "vendor", "user", user)
    ws = workspace(
        {
            "Cargo.toml": MEMBER.format("app") + '[dependencies]\nuser = "0.1"\n',
            "src/main.rs": 'fn main() { print!("{}", user::listed()) }\n',
            ".cargo/config.toml": replaced_by("directory", mac),
        }
    )

    def prints() -> str:
        shutil.rmtree(ws / "target", ignore_errors=True)
        cargo("build", cwd=ws, env=EXECUTABLES).ok()
        return cargo.world.run([ws / "target/debug/app"]).ok().stdout

    assert prints() == "a=1"
    (mac / "user/data/b.txt").write_text("2\n")
    assert prints() == "a=1,b=2"
    (mac / "user/src/lib.rs").write_text('pub fn listed() -> &\'static str { "patched" }\n')
    assert prints() == "patched"


def test_a_package_of_a_registry_hits_in_another_project_and_cargo_home(
    cargo: Cargo, workspace: Callable[..., Path]
) -> None:
    package = {
        "Cargo.toml": MEMBER.format("oddity").replace("0.1.0", "1.0.0"),
        "src/lib.rs": 'pub fn place() -> &\'static str { file!() }\npub const N: u8 = include!("n.rs");\n',
        "src/n.rs": "7\n",
    }
    registry = local_registry(cargo.world.root / "registry", "oddity", package)
    found: List[Run] = []
    for place, home in (("a/ws", "one"), ("another/ws", "two")):
        ws = workspace(
            {
                "Cargo.toml": MEMBER.format("app") + '[dependencies]\noddity = "1"\n',
                "src/lib.rs": "pub use oddity::N;\n",
                ".cargo/config.toml": replaced_by("local-registry", registry),
            },
            name=place,
        )
        env = {"CARGO_HOME": str(cargo.world.root / home)}
        found.append(cargo("build", cwd=ws, env=env).ok())
        assert cargo("build", "-v", cwd=ws, env=env).ok().built() == set()
    # its hash, and with it the action, moves with CARGO_HOME's path in some versions of Cargo
    assert results(found[0]) == ["miss"]
    assert found[1].results()["oddity"] == ["local_hit"]


# kache.toml

DECLARING = {
    "Cargo.toml": MEMBER.format("a"),
    "src/lib.rs": "pub fn one() {}\n",
    "migrations/1.sql": "one\n",
    "migrations/deep/2.sql": "two\n",
    "migrations/note.txt": "n\n",
}


@pytest.mark.parametrize(
    ("pattern", "counts"),
    [
        ("migrations/**/*.sql", ("1.sql", "deep/2.sql", "deep/new.sql")),
        ("migrations/*.sql", ("1.sql", "new.sql")),
        ("migrations", ("1.sql", "deep/2.sql", "note.txt", "deep/new")),
        ("migrations/", ("1.sql", "deep/2.sql", "note.txt", "new")),
        ("./migrations/**", ("1.sql", "deep/2.sql", "note.txt", "new")),
        ("../ws/migrations/1.sql", ("1.sql",)),
        ("{ws}/migrations/?.sql", ("1.sql",)),
        ("**/*.sql", ("1.sql", "deep/2.sql")),
        ("migrations/[12].sql", ("1.sql", "2.sql")),
        ("migrations/none/*.sql", ("none/new.sql",)),
    ],
)
def test_declared_inputs_count(
    rustc: Rustc, workspace: Callable[..., Path], pattern: str, counts: Sequence[str]
) -> None:
    """Their content, new ones and lost ones; and what is not declared does not."""
    ws = workspace({**DECLARING, "kache.toml": "extra_inputs = ['{}']\n"})
    (ws / "kache.toml").write_text((ws / "kache.toml").read_text().format(pattern.format(ws=ws)))
    assert not hit(rustc(ws, "a"))
    for name in counts:
        path = ws / "migrations" / name
        before = path.read_text() if path.exists() else None
        path.parent.mkdir(exist_ok=True)
        path.write_text("changed\n")
        assert not hit(rustc(ws, "a")), name
        if before is None:
            path.unlink()
        else:
            path.write_text(before)
        assert hit(rustc(ws, "a")), name
    for name in {"1.sql", "deep/2.sql", "note.txt"} - set(counts):
        (ws / "migrations" / name).write_text("changed\n")
        expected = name.endswith(".txt") or "**" not in pattern
        assert hit(rustc(ws, "a")) is expected, name


def test_declared_inputs_count_by_name_and_content(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """Two that change places, and the declaration itself, also where it matches nothing."""
    ws = workspace({**DECLARING, "kache.toml": 'extra_inputs = ["migrations/**/*.sql"]\n'})
    assert not hit(rustc(ws, "a"))
    one, two = ws / "migrations/1.sql", ws / "migrations/deep/2.sql"
    first, second = one.read_text(), two.read_text()
    one.write_text(second)
    two.write_text(first)
    assert not hit(rustc(ws, "a"))
    one.write_text(first)
    two.write_text(second)
    assert hit(rustc(ws, "a"))
    (ws / "kache.toml").write_text('extra_inputs = ["migrations/**/*.sql", "nothing/*"]\n')
    assert not hit(rustc(ws, "a"))
    (ws / "kache.toml").write_text("extra_inputs = []\n")
    assert not hit(rustc(ws, "a"))
    (ws / "kache.toml").unlink()
    rustc(ws, "a").ok()
    (ws / "kache.toml").write_text('extra_inputs = ["migrations/**/*.sql"]\n')
    assert hit(rustc(ws, "a"))
    elsewhere = workspace({**DECLARING, "kache.toml": 'extra_inputs = ["migrations/**/*.sql"]\n'}, name="b/ws")
    assert hit(rustc(elsewhere, "a"))


def test_cargo_notices_declared_inputs_in_a_restored_worktree(cargo: Cargo, workspace: Callable[..., Path]) -> None:
    """They stand in the dep-info, which a hit writes for its own place; and the sibling crate is left alone."""
    files = {**FAMILY, "low/kache.toml": 'extra_inputs = ["sql"]\n', "low/sql/1.sql": "one\n"}
    first, second = (workspace(files, name=place) for place in ("a/ws", "another/ws"))
    cargo("build", cwd=first, env=EXECUTABLES).ok()
    assert results(cargo("build", cwd=second, env=EXECUTABLES).ok()) == ["local_hit"]
    for tree in (second, first):
        assert cargo("build", "-v", cwd=tree, env=EXECUTABLES).ok().built() == set()
        (tree / "low/sql/1.sql").write_text("changed\n")
        run = cargo("build", "-v", cwd=tree, env=EXECUTABLES).ok()
        assert "low" in run.built()
        assert "gen" not in run.built()
        assert cargo("build", "-v", cwd=tree, env=EXECUTABLES).ok().built() == set()


@pytest.mark.parametrize(
    "text", ['extra_input = ["x"]\n', 'extra_inputs = "x"\n', "[cache]\nkey_salt = 'x'\n", "not toml"]
)
def test_a_wrong_kache_toml_uncaches_its_crate_and_is_told_once(
    cargo: Cargo, workspace: Callable[..., Path], text: str
) -> None:
    """On Cargo's own standard error, so that Cargo does not repeat it for ever; every other crate is cached."""
    ws = workspace({**FAMILY, "low/kache.toml": text})
    env = {**EXECUTABLES, "KACHE_PROGRESS": "never"}
    for turn in range(2):
        shutil.rmtree(ws / "target", ignore_errors=True)
        run = cargo("build", cwd=ws, env=env).ok()
        assert len([line for line in run.stderr.splitlines() if "kache.toml" in line]) == 1, run.stderr
        assert run.results()["low"] == ["passthrough"]
        assert run.results()["gen"] == (["local_hit"] if turn else ["miss"])
    run = cargo("build", "-v", cwd=ws, env=EXECUTABLES).ok()
    assert run.built() == set()
    assert "kache.toml" not in run.stderr


# the rest


def test_the_salt_of_environment_and_file(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace(LIB)

    def salted(**env: str) -> bool:
        return hit(rustc(ws, "a", env=env))

    assert not salted()
    assert salted(KACHE_KEY_SALT="")
    assert not salted(KACHE_KEY_SALT="x")
    assert not salted(KACHE_KEY_SALT=" x")
    (ws / ".kache.toml").write_text('[cache]\nkey_salt = "x"\n')
    assert salted()
    assert not salted(KACHE_KEY_SALT="y"), "the environment wins over the file"
    assert salted(KACHE_KEY_SALT="x")


def snapshot(base: Path) -> Dict[str, Tuple[int, int, bytes]]:
    """Everything that a write could change, but the number of links."""
    found = {}
    for path in sorted(base.rglob("*")):
        state = path.lstat()
        found[str(path)] = (state.st_mode, state.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
    return found


@pytest.mark.parametrize("how", ["environment", "file"])
def test_a_second_store_is_looked_into_and_left_as_it_is(
    rustc: Rustc, workspace: Callable[..., Path], how: str
) -> None:
    """The one that is baked into a CI image. What is compiled goes into one's own; one's own comes first."""
    ws = workspace(LIB)
    baked = rustc.world.root / "baked"
    rustc(ws, "a").ok()
    fresh = contents(ws / OUT)
    rustc.world.cache_dir.rename(baked)
    before = snapshot(baked)
    env = {"KACHE_READONLY_STORE": str(baked)} if how == "environment" else {}
    if how == "file":
        (ws / ".kache.toml").write_text(f'[cache]\nreadonly_store = "{baked}"\n')
    for _ in range(2):
        shutil.rmtree(ws / "target")
        assert hit(rustc(ws, "a", env=env))
        assert contents(ws / OUT) == fresh
    (ws / "src/lib.rs").write_text("pub fn two() {}\n")
    assert not hit(rustc(ws, "a", env=env))
    assert hit(rustc(ws, "a", env=env))
    assert snapshot(baked) == before
    assert entries(rustc.world)
    shutil.rmtree(baked)
    assert hit(rustc(ws, "a", env=env)), "one's own store works without it"


def test_turned_off_means_untouched(rustc: Rustc, spy: Spy, workspace: Callable[..., Path]) -> None:
    """The very arguments, incremental as well; nothing created, nothing told."""
    ws = workspace(LIB)
    words = [f"-Cincremental={ws}/target/debug/incremental"]
    rustc(ws, "a", *words, compiler=[spy.path], wrapper=False).ok()
    shutil.rmtree(ws / "target")
    run = rustc(ws, "a", *words, compiler=[spy.path], env={"KACHE_DISABLED": "1"}).ok()
    bare, ours = spy.seen()
    assert ours.args == bare.args
    assert run.events == []
    assert list((ws / "target/debug/incremental").iterdir())
    assert not rustc.world.cache_dir.exists()
    assert not hit(rustc(ws, "a", *words, compiler=[spy.path], env={"KACHE_DISABLED": "0"}))


def test_executables_are_only_kept_where_that_is_asked(cargo: Cargo, workspace: Callable[..., Path]) -> None:
    ws = workspace(FAMILY)
    expected: Mapping[str, Sequence[str]] = {"app": ["passthrough"], "low": ["local_hit"], "gen": ["local_hit"]}
    for env in ({}, {"KACHE_CACHE_EXECUTABLES": "0"}):
        shutil.rmtree(ws / "target", ignore_errors=True)
        found = cargo("build", cwd=ws, env=env).ok().results()
    assert {name: found[name] for name in expected} == expected
    assert cargo.world.run([ws / "target/debug/app"]).ok().stdout == PRINTS
    (ws / ".kache.toml").write_text("[cache]\ncache_executables = true\n")
    for _ in range(2):
        shutil.rmtree(ws / "target")
        found = cargo("build", cwd=ws).ok().results()
    assert found["app"] == found["mac"] == ["local_hit"]
