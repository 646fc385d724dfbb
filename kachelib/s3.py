"""S3: a remote behind an API that AWS, Ceph, MinIO, R2, SeaweedFS and others speak.

Owns the client (boto3's), how it is set up, and what its errors are in words. boto3 is imported when a client is made:
a third of a second, never in a compile.

Sources of what is peculiar: newer boto3 adds checksums that older servers refuse; a GET that is cut is an error of the
body's stream and not tried again by boto3; a server answers 412, or 409 while another writes, where a condition fails.
"""

import contextlib
import datetime
import io
import socket
import threading
import time
import warnings
from typing import Any, BinaryIO, ContextManager, Dict, Iterator, Optional, Tuple, Type, TypeVar

from kachelib import VERSION, bundle, redact
from kachelib.config import Settings
from kachelib.remote import (
    ABSENT,
    SAFE,
    Body,
    Denied,
    Forbidden,
    Limits,
    Listed,
    Missing,
    Remote,
    RemoteError,
    Unreachable,
    check_key,
)

E = TypeVar("E", bound=BaseException)

# What one request may put. S3's own limit is 5 GB.
LARGEST = 4 << 30

CONDITION_FAILED = (409, 412)
DENIED = {
    "InvalidAccessKeyId": "the access key is not known there",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
    "ExpiredToken": "the session's token has expired: sign in again",
    "InvalidToken": "the session's token is not valid",
    "RequestTimeTooSkewed": "this machine's clock is not the server's: set it",
    "AuthorizationHeaderMalformed": "the region is not the server's: set cache.remote.region",
}

# Explicit keys need no profile: a wrong AWS_PROFILE does not spoil them.
NO_PROFILE = {"profile": (None, None, None, None)}

# What a policy has to allow, by the name of the request.
RIGHTS = {
    "GetObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "ListObjectsV2": "s3:ListBucket",
    "DeleteObject": "s3:DeleteObject",
}


class S3(Remote):
    """A bucket. Nothing is asked before the first call."""

    def __init__(self, settings: Settings, limits: Limits) -> None:
        self._settings = settings
        self._limits = limits
        self._prefix = settings.remote_prefix.strip("/")
        self._lock = threading.Lock()
        self._client: Any = None
        self._used = 0.0
        self._source = self._endpoint = ""

    def describe(self) -> str:
        place = "s3://" + "/".join(part for part in (self._settings.remote_bucket, self._prefix) if part)
        return place + (" at " + self._where() if self._settings.remote_endpoint else "")

    def credentials(self) -> str:
        with self._errors(""):
            self._made()
        return self._source

    def _where(self) -> str:
        return redact.mask_url(self._settings.remote_endpoint) or self._endpoint or "AWS"

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

    def prepare(self) -> None:
        self._made()

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
            import botocore.session
            from botocore import handlers
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError

        settings, limits = self._settings, self._limits
        _require_certificates(settings.remote_ca_bundle)
        try:
            keys = self._explicit_keys()
            profile = "" if keys else settings.remote_profile
            core = botocore.session.Session(NO_PROFILE if keys else None)
            session = boto3.session.Session(botocore_session=core, profile_name=profile or None, **keys)
            found = session.get_credentials()
            if found is None:
                raise Denied(_no_credentials(profile))
            way = "profile %s (%s)" % (profile, found.method) if profile else "AWS: " + found.method
            self._source = "KACHE_S3_ACCESS_KEY" if keys else way
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
                    connect_timeout=limits.connect,
                    read_timeout=limits.read,
                    retries={"mode": "standard", "total_max_attempts": limits.attempts},
                    max_pool_connections=settings.s3_concurrency,
                    s3={"payload_signing_enabled": False, "addressing_style": settings.remote_addressing},
                ),
            )
        except (BotoCoreError, ValueError) as error:
            raise Denied("the S3 client cannot be set up: %s" % self._one_line(error)) from None
        # AWS's own, or that of AWS_ENDPOINT_URL
        self._endpoint = redact.mask_url(client.meta.endpoint_url)
        client.meta.events.unregister("before-call.s3", handlers.add_expect_header)
        return client

    def _explicit_keys(self) -> Dict[str, str]:
        """The keys that stand before a profile and AWS's own chain; {} without. Raises Denied for a half pair."""
        access, secret = self._settings.s3_access_key, self._settings.s3_secret_key
        if bool(access) != bool(secret):
            names = ("KACHE_S3_ACCESS_KEY", "KACHE_S3_SECRET_KEY")
            there, missing = names if access else names[::-1]
            raise Denied("%s is set without %s: set both, or neither" % (there, missing))
        return {"aws_access_key_id": access, "aws_secret_access_key": secret} if access else {}

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

    def _explain(self, key: str, error: Exception) -> Optional[Exception]:
        from botocore import exceptions as known
        from urllib3.exceptions import HTTPError

        if isinstance(error, known.ClientError):
            return self._refused(key, error)
        signing_in = (known.NoCredentialsError, known.CredentialRetrievalError, known.TokenRetrievalError)
        if isinstance(error, (*signing_in, known.SSOError)):
            return Denied("no credentials: %s" % self._one_line(error))
        if isinstance(error, (known.BotoCoreError, HTTPError, OSError)):
            return Unreachable("%s: %s" % (self._where(), self._trouble(error)))
        return None

    def _trouble(self, error: Exception) -> str:
        """What became of a request that got no answer."""
        from botocore import exceptions as known

        if isinstance(error, known.SSLError):
            return _tls_trouble(error) or self._one_line(error)
        if isinstance(error, known.EndpointConnectionError):
            cause = _within(error, OSError)
            if isinstance(cause, socket.gaierror):
                unknown = cause.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
                return "%s (%s)" % ("there is no such host" if unknown else "its name is not found", cause.strerror)
            return "nobody answers there" + (" (%s)" % cause.strerror if cause and cause.strerror else "")
        if isinstance(error, known.ConnectTimeoutError):
            return "nobody answers there in time"
        if isinstance(error, known.ReadTimeoutError):
            return "it takes connections and does not answer in time"
        if isinstance(error, known.ConnectionClosedError):
            return "it closes the connection without an answer"
        return self._one_line(error)

    def _refused(self, key: str, error: Any) -> Exception:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        # whatever is in the answer, it is one word
        code = "".join(char for char in str(error.response.get("Error", {}).get("Code", "")) if char in SAFE)[:60]
        place, said = self.describe(), code or status
        if status in CONDITION_FAILED:
            return _ConditionFailed()
        if code == "NoSuchBucket":
            return Unreachable("%s: there is no such bucket" % place)
        if status == 404 and error.operation_name == "ListObjectsV2":
            return Unreachable("%s: there is no such bucket, or the endpoint is no S3 server (%s)" % (place, said))
        if status == 404:
            return Missing("%s has no %s" % (place, key))
        if status == 416:
            return _Empty()
        if status == 501:
            return _NotKnown("%s: not known there: %s" % (place, said))
        if code in DENIED and status in (400, 401, 403):
            return Denied("%s: %s (%s)" % (place, DENIED[code], said))
        if status in (401, 403):
            right = RIGHTS.get(error.operation_name, error.operation_name)
            return Forbidden("%s: the credentials do not allow %s (%s)" % (place, right, said))
        if status >= 500 or status == 429:
            return Unreachable("%s: the server says %s" % (place, said))
        return RemoteError("%s: %s" % (place, said))

    def _one_line(self, error: Exception) -> str:
        """An error's own words, without what an endpoint's URL may hide."""
        endpoint = self._settings.remote_endpoint
        text = str(error).replace(endpoint, redact.mask_url(endpoint)) if endpoint else str(error)
        return redact.shown("", " ".join(text.split()))[:300]


class _ConditionFailed(Exception):
    pass


class _Empty(Exception):
    """Of an object without a byte not even the first can be had."""


class _NotKnown(RemoteError):
    pass


def _no_credentials(profile: str) -> str:
    if profile:
        return "the profile %s has no credentials" % profile
    return "no credentials were found: set KACHE_S3_ACCESS_KEY and KACHE_S3_SECRET_KEY, or KACHE_S3_PROFILE"


def _require_certificates(path: str) -> None:
    """Raise Unreachable where cache.remote.ca_bundle cannot be used: later it would look like the server's fault."""
    import ssl

    try:
        if path:
            ssl.create_default_context(cafile=path)
    except OSError as error:
        why = "it holds no certificates" if isinstance(error, ssl.SSLError) else error.strerror
        raise Unreachable("cache.remote.ca_bundle: %s: %s" % (path, why)) from None


def _tls_trouble(error: Exception) -> str:
    import ssl

    from urllib3.connection import CertificateError

    # urllib3 compares names by itself
    other = _within(error, CertificateError)
    if other is not None:
        return "its certificate is not trusted here: %s" % other
    cause = _within(error, ssl.SSLError)
    if isinstance(cause, ssl.SSLCertVerificationError):
        by_time = "expired" in cause.verify_message or "not yet valid" in cause.verify_message
        clock = " (is this machine's clock right?)" if by_time else ""
        return "its certificate is not trusted here: %s%s" % (cause.verify_message, clock)
    return "it does not speak TLS as it should (%s)" % cause.reason if cause and cause.reason else ""


def _within(error: BaseException, kind: Type[E]) -> Optional[E]:
    """The error of that kind that lies behind another one."""
    inner: Optional[BaseException] = error.__cause__ or error.__context__
    for _ in range(10):
        if inner is None or isinstance(inner, kind):
            return inner
        inner = inner.__cause__ or inner.__context__
    return None
