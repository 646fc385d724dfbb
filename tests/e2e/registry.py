"""Packages from a registry without a network: a local registry, and a vendor directory."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Mapping

Files = Mapping[str, str]


def local_registry(base: Path, name: str, files: Files, version: str = "1.0.0") -> Path:
    """Make ``base`` a local registry that has the package; returns it. Cargo unpacks it below CARGO_HOME."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for relative, text in files.items():
            member = tarfile.TarInfo(f"{name}-{version}/{relative}")
            member.size = len(text.encode())
            member.mode = 0o644
            tar.addfile(member, io.BytesIO(text.encode()))
    base.mkdir(parents=True, exist_ok=True)
    (base / f"{name}-{version}.crate").write_bytes(archive.getvalue())
    # where the index has names of four letters and more
    index = base / "index" / name[:2] / name[2:4] / name
    index.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(archive.getvalue()).hexdigest()
    entry = {"name": name, "vers": version, "deps": [], "cksum": digest, "features": {}, "yanked": False}
    with index.open("a") as out:
        out.write(json.dumps(entry) + "\n")
    return base


def vendored(base: Path, name: str, files: Files) -> Path:
    """Make ``base`` a vendor directory that has the package; returns it."""
    for relative, text in files.items():
        path = base / name / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (base / name / ".cargo-checksum.json").write_text('{"files": {}, "package": null}')
    return base


def replaced_by(kind: str, base: Path) -> str:
    """Cargo's configuration that takes every registry package from ``base``: kind is local-registry or directory."""
    return f'[source.crates-io]\nreplace-with = "here"\n[source.here]\n{kind} = "{base}"\n'
