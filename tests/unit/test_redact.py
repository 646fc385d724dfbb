"""What looks like a secret is never shown."""

import pytest

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
