"""S3: a remote behind an API that AWS, Ceph, MinIO, R2, SeaweedFS and others speak.

Owns the client (boto3's), how it is set up, and what its errors are in words. boto3 is imported when a client is made:
a third of a second, never in a compile.

Sources of what is peculiar: newer boto3 adds checksums that older servers refuse; a GET that is cut is an error of the
body's stream and not tried again by boto3; a server answers 412, or 409 while another writes, where a condition fails.
"""

import contextlib
import datetime
import io
import threading
import time
import warnings
from typing import Any, BinaryIO, ContextManager, Dict, Iterator, Tuple

from kachelib import VERSION, bundle
from kachelib.config import Settings
from kachelib.remote import ABSENT, Body, Denied, Listed, Missing, Remote, RemoteError, Unreachable, check_key

CONNECT_SECONDS = 5
READ_SECONDS = 30
ATTEMPTS = 3

# What one request may put. S3's own limit is 5 GB.
LARGEST = 4 << 30

CONDITION_FAILED = (409, 412)
DENIED = {
    "InvalidAccessKeyId": "the access key is not known there",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
    "ExpiredToken": "the session's token has expired: sign in again",
    "InvalidToken": "the session's token is not valid",
    "RequestTimeTooSkewed": "this machine's clock is not the server's: set it",
    "AccessDenied": "the credentials do not allow this",
}


class S3(Remote):
    """A bucket. Nothing is asked before the first call."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._prefix = settings.remote_prefix.strip("/")
        self._lock = threading.Lock()
        self._client: Any = None
        self._used = 0.0
        # what the client signs with, for people
        self.credentials = ""

    def describe(self) -> str:
        place = "s3://" + "/".join(part for part in (self._settings.remote_bucket, self._prefix) if part)
        return place + (" at " + self._settings.remote_endpoint if self._settings.remote_endpoint else "")

    def get(self, key: str, most: int = 0) -> "ContextManager[BinaryIO]":
        return self._open(check_key(key), most)

    @contextlib.contextmanager
    def _open(self, key: str, most: int) -> Iterator[BinaryIO]:
        more = {"Range": "bytes=0-%d" % (most - 1)} if most else {}
        try:
            with self._errors(key):
                body = self._ask("get_object", key, **more)["Body"]
        except _Empty:
            body = io.BytesIO()
        try:
            yield Body(body, lambda: self._errors(key))  # type: ignore[misc]
        finally:
            body.close()

    def get_tagged(self, key: str) -> Tuple[bytes, str]:
        with self._errors(key):
            answer = self._ask("get_object", check_key(key))
        with contextlib.closing(answer["Body"]) as body:
            data = Body(body, lambda: self._errors(key)).read()
        # bare: one server compares it with its quotes and one without, both know it so
        return data, answer.get("ETag", "").strip('"')

    def put(self, key: str, body: BinaryIO, size: int, condition: str = "") -> bool:
        if size > LARGEST:
            raise RemoteError("%s has %d bytes, more than one request may put" % (key, size))
        conditions: Dict[str, str] = {}
        if condition:
            conditions = {"IfNoneMatch": "*"} if condition == ABSENT else {"IfMatch": condition}
        try:
            with self._errors(check_key(key)):
                self._ask("put_object", key, Body=body, ContentLength=size, **conditions)
        except _ConditionFailed:
            return False
        except _NotKnown:
            if not conditions:
                raise
            body.seek(0)
            return self.put(key, body, size)
        return True

    def list(self, prefix: str) -> Iterator[Listed]:
        skip = len(self._key(""))
        for answer in self._pages(prefix):
            for each in answer.get("Contents", ()):
                modified = each.get("LastModified")
                seconds = modified.timestamp() if isinstance(modified, datetime.datetime) else 0.0
                yield Listed(each["Key"][skip:], each["Size"], seconds)

    def names(self) -> Iterator[str]:
        skip = len(self._key(""))
        for answer in self._pages("", Delimiter="/"):
            for each in answer.get("CommonPrefixes", ()):
                yield each["Prefix"][skip:].rstrip("/")

    def _pages(self, prefix: str, **more: str) -> Iterator[Any]:
        while True:
            with self._errors(prefix):
                answer = self._call("list_objects_v2", Prefix=self._key(prefix), **more)
            yield answer
            # some servers' pages are short: only the token says that there is another
            if not answer.get("IsTruncated") or not answer.get("NextContinuationToken"):
                return
            more["ContinuationToken"] = answer["NextContinuationToken"]

    def delete(self, key: str) -> None:
        with self._errors(key), contextlib.suppress(Missing):
            self._ask("delete_object", check_key(key))

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _key(self, key: str) -> str:
        return self._prefix + "/" + key if self._prefix else key

    def _ask(self, method: str, key: str, **more: Any) -> Any:
        return self._call(method, Key=self._key(key), **more)

    def _call(self, method: str, **more: Any) -> Any:
        return getattr(self._made(), method)(Bucket=self._settings.remote_bucket, **more)

    def _made(self) -> Any:
        """The client, one for all threads. One that lay idle for long gives its connections up."""
        with self._lock:
            now = time.monotonic()
            if self._client is not None and now - self._used > self._settings.s3_pool_idle_secs:
                self._client.close()
                self._client = None
            if self._client is None:
                self._client = self._make()
            self._used = now
            return self._client

    def _make(self) -> Any:
        bundle.ensure_importable("boto3")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import boto3
            from botocore import handlers
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError

        settings = self._settings
        try:
            session, how = self._session(boto3)
            if session.get_credentials() is None:
                raise Denied(
                    "no credentials were found: set KACHE_S3_ACCESS_KEY and KACHE_S3_SECRET_KEY, or KACHE_S3_PROFILE"
                )
            self.credentials = how or "AWS: " + session.get_credentials().method
            style = settings.remote_addressing
            client = session.client(
                "s3",
                endpoint_url=settings.remote_endpoint or None,
                region_name=settings.remote_region or None,
                verify=settings.remote_ca_bundle or None,
                config=Config(
                    user_agent="kache/" + VERSION,
                    parameter_validation=False,
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    connect_timeout=CONNECT_SECONDS,
                    read_timeout=READ_SECONDS,
                    retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                    max_pool_connections=settings.s3_concurrency,
                    s3={"payload_signing_enabled": False, "addressing_style": style},
                ),
            )
        except (BotoCoreError, ValueError) as error:
            raise Denied("the S3 client cannot be set up: %s" % _one_line(error)) from None
        client.meta.events.unregister("before-call.s3", handlers.add_expect_header)
        return client

    def _session(self, boto3: Any) -> Tuple[Any, str]:
        """The session in the order of credentials: explicit keys, profile, AWS's own chain."""
        settings = self._settings
        if settings.s3_access_key and settings.s3_secret_key:
            keys = {"aws_access_key_id": settings.s3_access_key, "aws_secret_access_key": settings.s3_secret_key}
            return boto3.session.Session(**keys), "KACHE_S3_ACCESS_KEY"
        if settings.remote_profile:
            return boto3.session.Session(profile_name=settings.remote_profile), "profile " + settings.remote_profile
        return boto3.session.Session(), ""

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except (RemoteError, _ConditionFailed, _Empty):
            raise
        except Exception as error:
            found = self._explain(key, error)
            if found is None:
                raise
            raise found from None

    def _explain(self, key: str, error: Exception) -> "Exception | None":
        from botocore import exceptions as known
        from urllib3.exceptions import HTTPError

        if isinstance(error, known.ClientError):
            return self._refused(key, error)
        where = self._settings.remote_endpoint or "AWS"
        if isinstance(error, (known.NoCredentialsError, known.CredentialRetrievalError, known.TokenRetrievalError)):
            return Denied("no credentials: %s" % _one_line(error))
        if isinstance(error, known.SSLError):
            return Unreachable("%s: its certificate is not trusted here: %s" % (where, _one_line(error)))
        if isinstance(error, (known.EndpointConnectionError, known.ConnectTimeoutError)):
            return Unreachable("nobody answers at %s" % where)
        if isinstance(error, (known.BotoCoreError, HTTPError, OSError)):
            return Unreachable("%s: %s" % (where, _one_line(error)))
        return None

    def _refused(self, key: str, error: Any) -> Exception:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = str(error.response.get("Error", {}).get("Code", ""))
        place = self.describe()
        if status in CONDITION_FAILED:
            return _ConditionFailed()
        if code == "NoSuchBucket":
            return RemoteError("%s: there is no such bucket" % place)
        if status == 404:
            return Missing("%s has no %s" % (place, key))
        if status == 416:
            return _Empty()
        if status == 501:
            return _NotKnown("%s: not known there: %s" % (place, code))
        if status in (400, 401, 403) and (code in DENIED or status != 400):
            return Denied("%s: %s (%s)" % (place, DENIED.get(code, "not allowed"), code or status))
        if status >= 500 or status == 429:
            return Unreachable("%s: the server says %s" % (place, code or status))
        return RemoteError("%s: %s" % (place, code or status))


class _ConditionFailed(Exception):
    pass


class _Empty(Exception):
    """Of an object without a byte not even the first can be had."""


class _NotKnown(RemoteError):
    pass


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
