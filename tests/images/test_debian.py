"""The one file in Debian's own images, with their own Python, Cargo, compiler and linker.

Everything comes from the package registry. Also the steps of docs/ci-image.md.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Dict

import pytest

from tests.conftest import missing
from tests.images.crates import CARGO, COMPILES, PACKAGES, build, place_workspace, shell, states, write_workspace
from tests.images.roots import Root

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
    env = {**CARGO, **PLAIN, "KACHE_CACHE_DIR": "/work/cache"}
    assert shell(debian, "/opt/kache --version", env, uid).stdout.startswith("kache ")
    salt = debian.run(["/opt/kache", "salt"], env, uid)
    assert (salt.returncode, salt.stdout, salt.stderr.count("\n")) == (1, "", 1)
    assert states(build(debian, env, uid, "one")) == COMPILED
    debian.run(["/bin/sh", "-c", "cd /work/ws && CARGO_TARGET_DIR=/work/one /opt/kache save"], env, uid)
    warm = states(build(debian, env, uid, "two"))
    assert warm == (COMPILED if image.name == "bookworm" else FRESH)
    build(debian, {**env, "KACHE_WARM_TARGETS": "0"}, uid, "three")
    counts = summary(debian, env, uid)
    assert counts["misses"] == COMPILES
    assert counts["local_hits"] == COMPILES * (2 if image.name == "bookworm" else 1)
    assert "all is well" in debian.run(["/opt/kache", "doctor", "--probe"], env, uid).stdout
    assert {path.name for path in debian.work.iterdir()} == {"ws", "cache", "cargo", "one", "two", "three"}


def test_the_steps_of_the_dockerfiles(debian: Root, image: Path, uid: int) -> None:
    """What docs/ci-image.md writes, step for step: fill a store, copy it into a layer, build as anybody."""
    names = ("RUSTC_WRAPPER", "CARGO_INCREMENTAL", "KACHE_CACHE_EXECUTABLES")
    of_image = {**PLAIN, **{name: CARGO[name] for name in names}}
    src, opt = image / "src", image / "opt"
    write_workspace(src)
    filling = {**of_image, "KACHE_CACHE_DIR": "/opt/kache-store", "CARGO_HOME": "/opt/cargo"}
    shell(debian, "cd /src && cargo build --locked", filling, 0, writable=True)
    shell(debian, "cd /src && (/opt/kache save || test -e /opt/old-cargo)", filling, 0, writable=True)
    # COPY --from makes files anew, without links
    for name in ("kache-store", "cargo"):
        if (opt / name).exists():
            subprocess.run(["cp", "-r", str(opt / name), str(opt / "copy")], check=True)
            subprocess.run(["rm", "-r", str(opt / name)], check=True)
            (opt / "copy").rename(opt / name)
    subprocess.run(["rm", "-r", str(src)], check=True)
    place_workspace(debian, "project")
    used = {**of_image, "KACHE_READONLY_STORE": "/opt/kache-store", "CARGO_HOME": "/opt/cargo", "HOME": "/"}
    used["KACHE_CACHE_DIR"] = "/work/.kache"
    done = shell(debian, "cd /work/project && cargo build -v --locked", used, uid)
    counts = summary(debian, used, uid)
    assert counts["misses"] == 0
    if image.name == "bookworm":
        assert counts["local_hits"] == COMPILES
    else:
        assert states(done.stderr) == FRESH
    assert set(os.listdir(debian.work)) == {"project", ".kache"}
