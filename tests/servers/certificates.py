"""A certificate authority of the tests' own, and a certificate of its for 127.0.0.1. Made with openssl(1)."""

import subprocess
from pathlib import Path
from typing import NamedTuple

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


class Certificate(NamedTuple):
    """Paths of PEM files. authority: what a client has to trust."""

    authority: Path
    certificate: Path
    key: Path


def make(directory: Path) -> Certificate:
    """Make both below ``directory``, which is there. Raises RuntimeError with what openssl says."""
    found = Certificate(directory / "authority.pem", directory / "server.pem", directory / "server.key")
    authority_key, request, names = directory / "authority.key", directory / "server.csr", directory / "names"
    names.write_text("subjectAltName = IP:127.0.0.1\nbasicConstraints = critical,CA:FALSE\n")
    _openssl(
        *("req", "-x509", *CURVE, "-subj", "/CN=an authority for tests"),
        *("-addext", "keyUsage=critical,keyCertSign", "-keyout", authority_key, "-out", found.authority),
    )
    _openssl("req", *CURVE[:-2], "-subj", "/CN=127.0.0.1", "-keyout", found.key, "-out", request)
    _openssl(
        *("x509", "-req", "-in", request, "-CA", found.authority, "-CAkey", authority_key, "-set_serial", "1"),
        *("-days", "2", "-extfile", names, "-out", found.certificate),
    )
    return found


def _openssl(*words: object) -> None:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {words[0]}: {done.stderr}")
