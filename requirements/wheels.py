"""The wheels that bundle.lock names, below build/wheels; or those of a distribution, from a directory.

Owns the lock's format, its markers and the private pip. Knows nothing of what becomes of the wheels.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
LOCK = ROOT / "requirements" / "bundle.lock"


# Where a distribution that builds without a network put its own wheels: their versions are its choice.
_given: Optional[Path] = None


class Problem(Exception):
    """What ends the build, as one line."""


class Pin(NamedTuple):
    """One requirement of the lock."""

    name: str
    version: str
    marker: str
    hashes: Tuple[str, ...]


def read_lock() -> List[Pin]:
    """All requirements of bundle.lock. Raises Problem for a line it does not know."""
    text = re.sub(r"(?m)^\s*#.*\n?", "", LOCK.read_text()).replace("\\\n", " ")
    pins = []
    for line in filter(None, map(str.strip, text.splitlines())):
        match = re.fullmatch(r"([\w.-]+)==([\w.]+)\s*(?:;\s*(.*?))?((?:\s+--hash=sha256:[0-9a-f]{64})+)", line)
        if match is None:
            raise Problem(f"{LOCK}: cannot read {line[:60]!r}")
        name, version, marker, hashes = match.groups()
        pins.append(Pin(name, version, marker or "", tuple(re.findall(r"sha256:(\w+)", hashes))))
    return pins


def holds(marker: str, minor: int) -> bool:
    """Whether an environment marker holds for Python 3.``minor``; only comparisons of its version are known."""
    for part in filter(None, marker.split(" and ")):
        match = re.fullmatch(r"python(?:_full)?_version\s*(<|>=)\s*'3\.(\d+)'", part.strip())
        if match is None:
            raise Problem(f"{LOCK}: cannot read the marker {marker!r}")
        if (minor < int(match[2])) != (match[1] == "<"):
            return False
    return True


def pins_for(names: Sequence[str], minor: int) -> List[Pin]:
    """The pinned versions of packages for Python 3.``minor``; those it does not need are left out."""
    return [pin for pin in read_lock() if pin.name in names and holds(pin.marker, minor)]


def pip() -> List[str]:
    """The pip of the private virtual environment, made where missing."""
    python = BUILD / "venv" / "bin" / "python"
    if not (BUILD / "venv" / ".complete").exists():
        print("build_zipapp: making build/venv", file=sys.stderr)
        made = subprocess.run(
            [sys.executable, "-m", "venv", "--clear", str(BUILD / "venv")], capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise Problem(
                f"{sys.executable} cannot make a virtual environment (on Debian and Ubuntu: apt-get install "
                f"python3-venv): {(made.stdout + made.stderr).strip().splitlines()[-1:]}"
            )
        (BUILD / "venv" / ".complete").touch()
    return [str(python), "-m", "pip", "--disable-pip-version-check"]


def take_from(directory: Path) -> None:
    """From now on ``wheels`` takes what lies in ``directory``, whatever its version and hash."""
    global _given  # noqa: PLW0603
    _given = directory


def _given_wheel(name: str, directory: Path) -> Path:
    wanted = re.sub(r"[-_.]+", "_", name).lower()
    found = [path for path in directory.glob("*.whl") if path.name.partition("-")[0].lower() == wanted]
    if len(found) != 1:
        raise Problem(f"{directory} holds {len(found)} wheels of {name}; one is needed")
    return found[0]


def wheels(pins: Sequence[Pin], options: Sequence[str], name: str) -> List[Path]:
    """The wheels of ``pins`` for what pip's ``options`` describe, from build/wheels, else downloaded.

    Their hashes are those of the lock each time. Raises Problem.
    """
    if _given is not None:
        return sorted(_given_wheel(pin.name, _given) for pin in pins)
    wanted = json.dumps([pins, list(options)]).encode()
    directory = BUILD / "wheels" / f"{name}-{hashlib.sha256(wanted).hexdigest()[:16]}"
    if not directory.exists():
        download(pins, options, name, directory)
    found = sorted(directory.glob("*.whl"))
    known = {digest for pin in pins for digest in pin.hashes}
    for wheel in found:
        if hashlib.sha256(wheel.read_bytes()).hexdigest() not in known:
            raise Problem(f"{wheel} is not what the lock names; remove it")
    if len(found) != len(pins):
        raise Problem(f"{directory} does not hold {len(pins)} wheels; remove it")
    return found


def download(pins: Sequence[Pin], options: Sequence[str], name: str, directory: Path) -> None:
    """Fill ``directory``, which appears complete or not at all. Raises Problem."""
    print(f"build_zipapp: downloading {', '.join(pin.name for pin in pins)} for {name}", file=sys.stderr)
    command = pip()
    partial = directory.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    listed = partial / "requirements.txt"
    # pip judges markers by its own interpreter, so they are judged here and left out
    hashes = {pin: " ".join("--hash=sha256:" + digest for digest in pin.hashes) for pin in pins}
    listed.write_text("".join(f"{pin.name}=={pin.version} {hashes[pin]}\n" for pin in pins))
    command += ["download", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command += ["--dest", str(partial), "-r", str(listed), *options]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise Problem(f"pip could not download for {name}: {(run.stderr or run.stdout).strip()}")
    listed.unlink()
    partial.rename(directory)
