"""The one file in Debian's own images, with their own Python, Cargo, compiler and linker.

Everything comes from the package registry. Also the steps of docs/ci-image.md.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Mapping

import pytest

from tests.conftest import missing
from tests.images.crates import CARGO, COMPILES, PACKAGES, build, place_workspace, shell, states, write_workspace
from tests.images.roots import Root
from tests.world import REPOSITORY, World

PLAIN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
FRESH = {name: ["Fresh"] for name in PACKAGES}
COMPILED = {name: ["Compiling"] for name in PACKAGES}

pytestmark = [pytest.mark.soak, pytest.mark.network]


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Debian image, and nothing of kache's; its name is the suite's."""
    place = tmp_path_factory.mktemp("debian") / str(request.param)
    packages = "--include=python3,cargo,rustc,gcc,libc6-dev"
    command = ["debootstrap", "--variant=minbase", packages, place.name, str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    except FileNotFoundError:
        missing("debootstrap")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return place


@pytest.fixture
def debian(image: Path, everywhere: Path, tmp_path: Path) -> Root:
    """The image and the file for all platforms in it."""
    root = Root(image, tmp_path / "work")
    root.add(str(everywhere), "/opt/kache")
    return root


def summary(root: Root, env: Dict[str, str], uid: int) -> Dict[str, int]:
    report = json.loads(shell(root, "/opt/kache report --json", env, uid).stdout)
    assert report["summary"]["errors"] == 0, report
    found: Dict[str, int] = report["summary"]
    return found


def test_a_build_cold_and_warm(debian: Root, image: Path, uid: int) -> None:
    """bookworm's Cargo is 0.66, too old to be warmed: there the wrapper hits."""
    place_workspace(debian)
    env = {**CARGO, **PLAIN, "KACHE_CACHE_DIR": "/job/cache"}
    assert shell(debian, "/opt/kache --version", env, uid).stdout.startswith("kache ")
    salt = debian.run(["/opt/kache", "salt"], env, uid)
    assert (salt.returncode, salt.stdout, salt.stderr.count("\n")) == (1, "", 1)
    assert states(build(debian, env, uid, "one")) == COMPILED
    debian.run(["/bin/sh", "-c", "cd /job/ws && CARGO_TARGET_DIR=/job/one /opt/kache save"], env, uid)
    warm = states(build(debian, env, uid, "two"))
    assert warm == (COMPILED if image.name == "bookworm" else FRESH)
    build(debian, {**env, "KACHE_WARM_TARGETS": "0"}, uid, "three")
    counts = summary(debian, env, uid)
    assert counts["misses"] == COMPILES
    assert counts["local_hits"] == COMPILES * (2 if image.name == "bookworm" else 1)
    # a limit that any disk holds
    limited = {**env, "KACHE_MAX_SIZE": "1GiB"}
    assert "all is well" in debian.run(["/opt/kache", "doctor", "--probe"], limited, uid).stdout
    assert {path.name for path in debian.work.iterdir()} == {"ws", "cache", "cargo", "one", "two", "three"}


@pytest.fixture
def page() -> List[str]:
    """The code of docs/ci-image.md, block by block."""
    text = (REPOSITORY / "docs" / "ci-image.md").read_text().replace("\\\n", "")
    return re.findall(r"^```(?:dockerfile|sh)\n(.*?)^```", text, re.M | re.S)


def test_the_dockerfiles_of_the_page(image: Path, page: List[str], everywhere: Path, uid: int, world: World) -> None:
    """Step for step, but for what comes from a registry of images: the file, a store in a layer, a job as anybody."""
    context = world.root / "context"
    write_workspace(context)
    shutil.copy(everywhere, context / "kache")
    stages = {"rust:1-slim": Stage(image, PLAIN)}
    alone, baked, used = page[:3]
    if image.name == "bookworm":
        # as the page says of a Cargo before 1.85
        assert " && /opt/kache save" in baked
        baked = baked.replace(" && /opt/kache save", "")
    stages["my-image"] = follow(alone, stages, context, world.root)
    stages["my-image"] = follow(baked, stages, context, world.root)
    words = shlex.split(used)
    given = [words[at + 1] for at, word in enumerate(words) if word == "-e"]
    assert words[:3] == ["docker", "run", "--read-only"] and "job:/job" in words
    env = {**stages["my-image"].env, **dict(word.split("=", 1) for word in given), "HOME": "/"}
    command = words[words.index("my-image") + 1 :]
    job = Root(stages["my-image"].place, world.root / "job")
    place_workspace(job, "project")
    done = job.run(command, env, uid)
    assert done.returncode == 0, done.stderr
    counts = summary(job, env, uid)
    # of a unit more: the run of the build script
    served = (COMPILES, 0) if image.name == "bookworm" else (0, COMPILES + 1)
    assert (counts["misses"], counts["local_hits"], counts["warmed"]) == (0, *served), done.stderr
    assert set(os.listdir(job.work)) == {"project", ".kache"}


@dataclass
class Stage:
    """An image as a Dockerfile makes it. place: its root; env: its variables."""

    place: Path
    env: Dict[str, str]
    directory: str = "/"


def follow(dockerfile: str, stages: Mapping[str, Stage], context: Path, scratch: Path) -> Stage:
    """Do what the Dockerfile's lines say; apt-get was done by debootstrap. Returns its last stage.

    The last stage changes the image that it is from, which nothing else is made of.
    """
    named = dict(stages)
    last = dockerfile.rindex("FROM ")
    for match in re.finditer(r"^([A-Z]+) (.*)$", dockerfile, re.M):
        verb, words = match[1], match[2].split()
        if verb == "FROM":
            origin, name = named[words[0]], words[-1]
            place = origin.place
            if match.start() != last:
                place = scratch / name
                subprocess.run(["cp", "-a", str(origin.place), str(place)], check=True)
            stage = named[name] = Stage(place, dict(origin.env), origin.directory)
        elif verb == "WORKDIR":
            stage.directory = words[0]
            (stage.place / words[0].lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif verb == "ENV":
            stage.env.update({word.partition("=")[0]: word.partition("=")[2] for word in words})
        elif verb == "COPY":
            options = dict(word[2:].split("=", 1) for word in words[:-2])
            origin_place = named[options["from"]].place if "from" in options else context
            source = origin_place / words[-2].lstrip("/")
            target = stage.place / os.path.join(stage.directory, words[-1]).lstrip("/")
            # files made anew, without links, with times of now
            subprocess.run(["cp", "-rT", str(source), str(target)], check=True)
            if "chmod" in options:
                target.chmod(int(options["chmod"], 8))
        elif words[0] != "apt-get":
            assert verb == "RUN", verb
            root = Root(stage.place, scratch / "empty")
            shell(root, f"cd {stage.directory} && {match[2]}", stage.env, 0, writable=True)
    return stage
