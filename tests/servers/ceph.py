"""Ceph RGW over TLS, the second S3 server that tests of a remote run against: it stands for older ones.

Owns how one monitor, one OSD that keeps all in memory and one radosgw are made, started and ended: by hand, in one
directory, on ports of 127.0.0.1, with a certificate of the tests' own authority. The programs come with Debian's
ceph-mon, ceph-osd, radosgw and ceph-common.

What version 16.2 answers to conditions (tests/remote/test_servers.py):

    PUT, If-None-Match: *           one winner among eight, 412 for the others
    PUT, If-Match: <etag>           200 once, 412 for the others; with its quotes an etag never matches
    PUT, If-Match, no such object   412, and nothing is written
    DELETE, If-Match: <stale etag>  204: the condition is ignored, and the object is gone
"""

import os
import secrets
import shutil
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any, Callable, List, Optional

from botocore.exceptions import BotoCoreError, ClientError

from tests.servers.certificates import Authority
from tests.servers.client import s3_client
from tests.servers.process import Daemon, free_ports

BUCKET = "kache-tests"
PROGRAMS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "openssl", "radosgw", "radosgw-admin")
READY_SECONDS = 60.0

# cephx, for with "none" radosgw asks for ever; the paxos intervals make it ready in seconds rather than half a minute
CONF = """
[global]
fsid = {fsid}
mon host = {monitor}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = {directory}/keyring
run dir = {directory}
admin socket = {directory}/$name.asok
log file = {directory}/$name.log
crash dir = {directory}/crash
ms bind ipv6 = false
mon data = {directory}/mon
mon allow pool size one = true
mon cluster log file = {directory}/cluster.log
mon max pg per osd = 1000
paxos propose interval = 0.05
paxos min wait = 0.01
osd data = {directory}/osd
osd objectstore = memstore
memstore device bytes = 2147483648
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
rgw data = {directory}/rgw
rgw frontends = beast ssl_endpoint=127.0.0.1:{port} ssl_certificate={certificate} ssl_private_key={key}
rgw thread pool size = 32
"""


def missing_programs() -> List[str]:
    """Those of its programs that are not on PATH."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


class Ceph:
    """A cluster on 127.0.0.1 with its files below ``directory``, its bucket made; ready when the constructor returns.

    What it keeps is in memory: only its radosgw, which keeps nothing, can be killed without a loss.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.bucket = BUCKET
        self.access_key, self.secret_key = "ci" + secrets.token_hex(8), secrets.token_hex(16)
        authority = Authority(directory / "authority", shutil.which("openssl") or "openssl")
        certificate, key = authority.certify(["IP:127.0.0.1"])
        self.ca_bundle: Optional[str] = str(authority.ca_bundle)
        first, second, self.port = free_ports(3)
        self.endpoint = f"https://127.0.0.1:{self.port}"
        self._directory = directory
        self._monitor = f"[v2:127.0.0.1:{first},v1:127.0.0.1:{second}]"
        self._fsid, self._osd = str(uuid.uuid4()), str(uuid.uuid4())
        text = CONF.format(
            fsid=self._fsid,
            monitor=self._monitor,
            directory=directory,
            port=self.port,
            certificate=certificate,
            key=key,
        )
        (directory / "ceph.conf").write_text(text)
        self._env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(directory), "TMPDIR": str(directory)}
        self._env["CEPH_CONF"] = str(directory / "ceph.conf")
        self._daemons: List[Daemon] = []
        try:
            self._begin()
        except BaseException:
            self.kill()
            raise

    def client(self, **options: Any) -> Any:
        """A boto3 client that may do everything; options as for ``s3_client``."""
        # the checksums that boto3 adds by itself are refused here
        settled = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
        return s3_client(
            self.endpoint, self.access_key, self.secret_key, ca_bundle=self.ca_bundle, **{**settled, **options}
        )

    def kill_gateway(self) -> None:
        """SIGKILL of radosgw."""
        self._daemons[-1].kill()

    def restart_gateway(self) -> None:
        """Start radosgw, on the same port; returns when a PUT succeeds. RuntimeError if none does in time."""
        self._daemons[-1].stop()
        self._daemons[-1].start()
        self._until(self._take_a_put, "radosgw took no PUT")

    def kill(self) -> None:
        """SIGKILL of all: nothing of it is wanted any more."""
        for daemon in reversed(self._daemons):
            daemon.kill()

    stop = kill

    def _begin(self) -> None:
        for name in ("mon", "osd", "rgw", "crash"):
            (self._directory / name).mkdir()
        self._make_keys()
        map_file = self._directory / "monmap"
        self._call("monmaptool", "--create", "--fsid", self._fsid, "--addv", "a", self._monitor, map_file)
        self._call("ceph-mon", "--mkfs", "-i", "a", "--monmap", map_file, "--keyring", self._directory / "keyring")
        self._start("ceph-mon", "-f", "-i", "a")
        # waits for the monitor
        self._call("ceph", "--connect-timeout", int(READY_SECONDS), "osd", "new", self._osd)
        self._call("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", self._osd)
        self._start("ceph-osd", "-f", "-i", "0")
        self._call(
            *("radosgw-admin", "user", "create", "--uid", "ci", "--display-name", "ci"),
            *("--access-key", self.access_key, "--secret-key", self.secret_key),
        )
        self._start("radosgw", "-f", "-n", "client.rgw.a")
        self._until(self._take_a_put, "radosgw took no PUT")

    def _make_keys(self) -> None:
        keyring = self._directory / "keyring"
        everything = ("--cap", "mon", "allow *", "--cap", "osd", "allow *")
        for name, caps in (
            ("mon.", everything[:3]),
            ("client.admin", everything),
            ("osd.0", ("--cap", "mon", "allow profile osd", "--cap", "osd", "allow *")),
            ("client.rgw.a", ("--cap", "mon", "allow rw", "--cap", "osd", "allow rwx")),
        ):
            create = () if keyring.exists() else ("--create-keyring",)
            self._call("ceph-authtool", *create, keyring, "--gen-key", "-n", name, *caps)

    def _call(self, *words: object) -> None:
        """Run a command to its end. RuntimeError with its output if it fails."""
        done = subprocess.run(
            [str(word) for word in words],
            cwd=self._directory,
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=READY_SECONDS * 2,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stdout + done.stderr)[-4096:].decode("utf-8", "replace")
            raise RuntimeError(f"{words[0]} failed:\n{said}")

    def _start(self, *words: str) -> None:
        daemon = Daemon(words, self._directory, self._env, self._directory / (words[0] + ".out"))
        self._daemons.append(daemon)
        daemon.start()

    def _take_a_put(self) -> None:
        client = self.client(timeout=5)
        try:
            client.create_bucket(Bucket=self.bucket)
        except client.exceptions.BucketAlreadyOwnedByYou:
            pass
        client.put_object(Bucket=self.bucket, Key="ready", Body=b"ready")

    def _until(self, work: Callable[[], None], what: str) -> None:
        """Try until it succeeds. RuntimeError if it does not in time, or a process has ended."""
        until = time.monotonic() + READY_SECONDS
        while True:
            for daemon in self._daemons:
                daemon.check()
            try:
                work()
                return
            except (BotoCoreError, ClientError) as error:
                if time.monotonic() > until:
                    raise RuntimeError(f"{what}: {error}\n{self._daemons[-1].tail()}") from error
                time.sleep(0.05)
