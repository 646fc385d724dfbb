"""What looks like a secret is never shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kachelib import redact
from kachelib.entry import EnvDep


@pytest.mark.parametrize(
    "name",
    "TOKEN API_TOKEN GITHUB_TOKEN DB_PASSWORD DBPASSWORD AWS_SECRET_ACCESS_KEY SIGNING_KEY apiKey MY-SECRET "
    "CREDENTIALS SENTRY_DSN NPM_AUTH db_pass".split(),
)
def test_secret_names_are_known(name: str) -> None:
    assert redact.is_secret(name)
    assert "hunter2" not in redact.shown(name, "hunter2")


@pytest.mark.parametrize(
    "name", "CARGO_PKG_AUTHORS CARGO_PKG_NAME OUT_DIR PROFILE KEYBOARD CARGO_PKG_KEYWORDS PATH MONKEYS TARGET".split()
)
def test_ordinary_names_are_shown(name: str) -> None:
    assert redact.shown(name, "hunter2") == "hunter2"


def test_a_hidden_value_still_tells_whether_it_changed() -> None:
    assert redact.shown("TOKEN", "a") == redact.shown("TOKEN", "a") != redact.shown("TOKEN", "b")


def test_a_password_in_a_url_is_hidden() -> None:
    assert redact.shown("REPO", "https://me:hunter2@host/x") == "https://***@host/x"


def test_an_unset_variable_is_said_so() -> None:
    assert redact.shown_env(EnvDep("TOKEN", "-", "")) == "(not set)"


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://s3.example.com", "https://s3.example.com"),
        ("http://u:p@h:9000/x", "http://***@h:9000/x"),
        ("http://token@h", "http://***@h"),
        ("u:p@h", "***@h"),
        ("http://u:p/q?r@h", "http://***@h"),
        ("http://h/?sig=1", "http://h/?***"),
        ("u:p://x@h", "***@h"),
        ("", ""),
    ],
)
def test_mask_url(url: str, masked: str) -> None:
    assert redact.mask_url(url) == masked


@given(st.text("ab:/?#@"), st.text("ab:/?#@"))
def test_no_user_or_password_survives_masking(user: str, password: str) -> None:
    secret = f"{user}SECRET:{password}SECRET"
    assert "SECRET" not in redact.mask_url(f"https://{secret}@host/bucket")
