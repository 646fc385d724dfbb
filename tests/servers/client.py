"""boto3 clients for the tests, which take nothing from the caller's environment: no profile, no proxy, no settings."""

import os
from typing import Any, Dict, Optional, Union

import boto3
import botocore.session
from botocore.config import Config


def s3_client(
    endpoint: str,
    access_key: str,
    secret_key: str,
    *,
    ca_bundle: Optional[str] = None,
    attempts: int = 1,
    timeout: float = 20,
    **config: Any,
) -> Any:
    """A client that tries ``attempts`` times and waits ``timeout`` seconds each time; ``config`` is botocore's."""
    nothing: Dict[str, Any] = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
        "ca_bundle": (None, None, None, None),
    }
    verify: Union[bool, str] = ca_bundle or True
    return boto3.Session(botocore_session=botocore.session.Session(session_vars=nothing)).client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
        verify=verify,
        config=Config(
            connect_timeout=timeout,
            read_timeout=timeout,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            proxies={},
            s3={"addressing_style": "path"},
            **config,
        ),
    )
