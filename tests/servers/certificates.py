"""Certificates of an authority of one's own, made with the openssl command."""

import ssl
import subprocess
from pathlib import Path
from typing import Sequence, Tuple


class Authority:
    """An authority whose certificate is the file ``ca_bundle``. openssl: the program's path."""

    def __init__(self, directory: Path, openssl: str) -> None:
        directory.mkdir(parents=True)
        self._directory = directory
        self._openssl = openssl
        self.ca_bundle = directory / "ca.pem"
        self._run("req", "-x509", *self._new_key("ca"), "-days", "7", "-subj", "/CN=tests", "-out", self.ca_bundle)

    def certify(self, names: Sequence[str]) -> Tuple[Path, Path]:
        """Certificate and key of a server with these names ("IP:127.0.0.1", "DNS:*.example.com"), as PEM files."""
        extensions = self._directory / "extensions"
        extensions.write_text(f"subjectAltName={','.join(names)}\n")
        request, certificate = self._directory / "server.csr", self._directory / "server.pem"
        self._run("req", *self._new_key("server"), "-subj", "/CN=server", "-out", request)
        signed_by = ("-CA", self.ca_bundle, "-CAkey", self._directory / "ca.key", "-CAcreateserial")
        self._run("x509", "-req", "-in", request, *signed_by, "-days", "7", "-extfile", extensions, "-out", certificate)
        return certificate, self._directory / "server.key"

    def server(self, names: Sequence[str]) -> ssl.SSLContext:
        """A server's side of TLS with a certificate for these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certify(names))
        return context

    def _new_key(self, name: str) -> "Sequence[object]":
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        return (*curve, "-keyout", self._directory / (name + ".key"))

    def _run(self, *words: object) -> None:
        subprocess.run([self._openssl, *map(str, words)], check=True, capture_output=True)
