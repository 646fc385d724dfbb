"""What kache runs from: dist/kache, an installed package or a checkout.

Owns the answers that differ between these: where the program is, how it is started anew, whether a dependency
can be imported. launcher/ is what runs in dist/kache; of it this module knows ``kache_launcher`` (boot.py).
"""

import sys

from kachelib.outcome import KacheError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import zipfile
    from typing import Any, Dict, List, Tuple


class BundleError(KacheError):
    """A dependency cannot be had; the text says why and what to do."""


def location() -> str:
    """The absolute path of dist/kache where kache runs from that file, else ""."""
    launcher = _launcher()
    return launcher.FILE.path if launcher else ""


def build() -> str:
    """The name of the build of dist/kache that runs; "" elsewhere."""
    launcher = _launcher()
    return launcher.FILE.build if launcher else ""


def start_command() -> "List[str]":
    """The words that start this kache anew, with the interpreter that runs now; arguments follow."""
    import os

    if location():
        return [sys.executable, "-I", location()]
    import kachelib

    root = os.path.dirname(os.path.dirname(os.path.abspath(kachelib.__file__)))
    return [sys.executable, "-E", "-X", "utf8", os.path.join(root, "kache.py")]


def remembered_python_file(environ: "Dict[str, str]") -> str:
    """The file whose one line names the interpreter for dist/kache: launcher/header.sh reads it, ``init`` writes it."""
    home = environ.get("XDG_CONFIG_HOME") or environ.get("HOME", "") + "/.config"
    return home + "/kache/python"


def describe() -> "Dict[str, str]":
    """What doctor shows of the file: how it started, where its native module lies. Empty outside dist/kache."""
    import os

    launcher = _launcher()
    if not launcher:
        return {}
    import blake3

    # A module in memory is named for a descriptor.
    origin = blake3.__file__ or ""
    return {
        "file": launcher.FILE.path,
        "build": launcher.FILE.build,
        "python": sys.executable,
        "start": "precompiled" if launcher.FILE.base else "compiled on this machine",
        "native modules": "memory" if origin.startswith("/proc/") else os.path.dirname(origin),
    }


def ensure_importable(name: str) -> None:
    """Make ``import name`` work for a dependency of kache. Raises BundleError.

    blake3, zstandard and tomli always work in dist/kache, tomlkit is imported from its zip; boto3 and Crypto
    (pycryptodome) cannot be loaded from a zip and are unpacked once for each user.
    """
    launcher = _launcher()
    if launcher and name == "tomlkit":
        folder = launcher.FILE.path + "/pure"
        if folder not in sys.path:
            sys.path.append(folder)
        return
    if launcher and name == "Crypto":
        folder = _unpacked(launcher, "crypto")
        if folder not in sys.path:
            sys.path.append(folder)
        return
    if launcher and name == "boto3":
        import warnings

        folder = _unpacked(launcher, "vendor")
        if folder not in sys.path:
            sys.path.append(folder)
        # it says so on every import, and there is no other for this Python
        warnings.filterwarnings("ignore", message="Boto3 will no longer support Python")
        return
    from importlib.util import find_spec

    if name not in sys.modules and find_spec(name) is None:
        package = "pycryptodome" if name == "Crypto" else name
        raise BundleError(f"{sys.executable} has no {name}: python3 -m pip install {package}")


def _launcher() -> "Any":
    """boot.py's module, None outside dist/kache."""
    return sys.modules.get("kache_launcher")


def _unpacked(launcher: "Any", kind: str) -> str:
    """The folder that holds boto3 and what it needs (vendor), or Crypto, unpacked where missing. Raises BundleError."""
    import zipfile

    problems = []
    with zipfile.ZipFile(launcher.FILE.path) as archive:
        name = _set_for(archive) if kind == "vendor" else _crypto_for(launcher, archive)
        if not name:
            what = f"boto3 for Python 3.{sys.version_info[1]}" if kind == "vendor" else "Crypto for this platform"
            raise BundleError(f"{launcher.FILE.path} carries no {what}: build it with one")
        for directory in launcher.runtime_directories():
            folder = f"{directory}/{'boto3' if kind == 'vendor' else kind}-{name}"
            try:
                launcher.make_directory(directory)
                if not launcher.is_ours(directory, -1):
                    raise OSError(f"{directory} can be written by others")
                if not launcher.is_ours(folder, -1):
                    _unpack(archive, (f"{kind}/{name}/", f"{kind}/every/"), folder)
                return folder
            except OSError as error:
                problems.append(str(error))
    raise BundleError(f"{kind} cannot be unpacked ({'; '.join(problems)}): set XDG_CACHE_HOME to a directory of yours")


def _set_for(archive: "zipfile.ZipFile") -> str:
    """The folder below vendor/ for this interpreter; "" where there is none.

    It is named 3.MINOR-DIGEST for the oldest Python that its packages run on; vendor/every has what all sets share.
    """
    names = {name.split("/")[1] for name in archive.namelist() if name.startswith("vendor/3.")}
    fitting = [name for name in names if int(name[2:].partition("-")[0]) <= sys.version_info[1]]
    return max(fitting, key=lambda name: int(name[2:].partition("-")[0]), default="")


def _crypto_for(launcher: "Any", archive: "zipfile.ZipFile") -> str:
    """The folder below crypto/ for this platform; "" where there is none. It is named SYSTEM-PROCESSOR-DIGEST."""
    import os

    machine = os.uname().machine
    if sys.platform == "darwin":
        wanted = (f"macosx-{machine}-", "macosx-universal2-")
    else:
        wanted = (f"{'musllinux' if launcher.runs_on_musl() else 'manylinux'}-{machine}-",)
    names = {name.split("/")[1] for name in archive.namelist() if name.startswith("crypto/")}
    return next((name for name in sorted(names) if name.startswith(wanted)), "")


def _unpack(archive: "zipfile.ZipFile", prefixes: "Tuple[str, ...]", folder: str) -> None:
    """Write all below ``prefixes`` into ``folder``, which appears complete or not at all. Raises OSError."""
    import os
    import shutil
    import tempfile

    partial = tempfile.mkdtemp(prefix=os.path.basename(folder) + ".", dir=os.path.dirname(folder))
    try:
        for name in archive.namelist():
            prefix = next(filter(name.startswith, prefixes), None)
            if prefix:
                path = os.path.join(partial, name[len(prefix) :])
                os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
                with open(path, "wb") as file:
                    file.write(archive.read(name))
        try:
            os.rename(partial, folder)
        except OSError:
            if not os.path.isdir(folder):
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
