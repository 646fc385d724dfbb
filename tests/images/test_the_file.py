"""The one file's bytes: how many, and the same ones from another user, place and locale."""

import shutil
from pathlib import Path
from typing import Dict, List

import pytest

from tests.conftest import missing
from tests.images.roots import Root, add_python, ends, interpreters
from tests.world import REPOSITORY, World

PYTHONS = interpreters()
MB = 1_000_000


def test_its_size(file: Path) -> None:
    """For one platform; it would still do with code for all six Pythons, wherever fewer are here."""
    size, here = file.stat().st_size, len({name.split(" ")[0] for name in PYTHONS})
    # code and native modules of one more
    assert size + (6 - here) * 1.6 * MB <= 12 * MB
    assert str(REPOSITORY).encode() not in file.read_bytes()


@pytest.mark.soak
@pytest.mark.network
def test_its_size_for_all_platforms(everywhere: Path) -> None:
    readme = (REPOSITORY / "README.md").read_text()
    assert f"{everywhere.stat().st_size / MB:.0f} MB for all platforms" in " ".join(readme.split())


def test_another_user_elsewhere_builds_the_same_bytes(world: World, uid: int) -> None:
    """As root; and without a name, a HOME or a locale, at another place; both without a network."""
    oldest, newest = (PYTHONS[name] for name in ends(PYTHONS))
    if not (REPOSITORY / "build" / "wheels").is_dir():
        missing("build/wheels, where `make file` leaves what it loaded")
    environments: List[Dict[str, str]] = [
        {"HOME": "/root", "LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": "/bin"},
        {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"},
    ]
    built = []
    for user, env, at in zip((0, uid), environments, ("/job/kache", "/job/else where/kache-0.1")):
        root = Root(world.root / f"root-{user}", world.root / f"work-{user}")
        pythons = [add_python(root, program) for program in (oldest, newest)]
        place_builder(root, world.root / f"work-{user}" / at[len("/job/") :])
        words = ["--only", *(word for python in pythons for word in ("--python", python)), "--output", "/job/file"]
        done = root.run([pythons[user != 0], f"{at}/build_zipapp.py", *words], env, user)
        assert (done.returncode, done.stderr) == (0, ""), "nothing had to be loaded"
        built.append(root.work / "file")
    assert built[0].read_bytes() == built[1].read_bytes()
    assert [path.stat().st_uid for path in built] == [0, uid]
    assert {path.stat().st_mode & 0o777 for path in built} == {0o755}


def place_builder(root: Root, checkout: Path) -> None:
    """A copy of the builder and the program, with the wheels that were loaded already."""
    checkout.mkdir(parents=True)
    for part in ("build_zipapp.py", "kache.py", "kachelib", "launcher", "requirements"):
        copy = shutil.copytree if (REPOSITORY / part).is_dir() else shutil.copyfile
        copy(REPOSITORY / part, checkout / part)
    (checkout / "build").mkdir()
    (checkout / "build" / "wheels").symlink_to("/wheels")
    root.add(str(REPOSITORY / "build" / "wheels"), "/wheels")
    root.open_work()
