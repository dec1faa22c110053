"""Passwords in the URL of a storage are neither printed nor stored."""

from pathlib import Path

import pytest

from routers import ConfigError
from sweeps.storage.connect import open_storage, without_password

#: Valid and malformed URLs with a password.
SECRETS = [
    "postgresql://me:sesame@host/db",
    "postgresql://host/db?user=me&password=sesame",
    "postgresql://host/db?sslpassword=sesame&PASSFILE=sesame",
    "postgresql://host/db?p%61ssword=sesame",
    "postgresql://me:se/same@host/db",
    "postgresql://me:se@sesame@host/db",
    "postgresql://me/x:sesame@host/db",
    "postgresql://me:se/sesame@host:many/x",
    "postgresql://me:sesame?x@host:many/x",
    "postgresql://me:p:sesame@host:many/x",
    "postgresql://host:many/x?password=sesame",
    "postgresql:/host/x?password=a@sesame",
    "postgresql:/me:sesame@host/x",
    "postgres:me:sesame@host/x",
    "//me:sesame@host/x",
    "me:sesame@host/x",
]


@pytest.mark.parametrize("url", SECRETS)
def test_a_password_is_masked(url):
    shown = without_password(url)
    assert "same" not in shown
    assert "***" in shown


@pytest.mark.parametrize("url", [url for url in SECRETS if "many" in url or "://" not in url])
def test_an_error_shows_no_password(url):
    with pytest.raises(ConfigError) as caught, open_storage(url, Path()):
        pass
    assert "same" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "sqlite:////home/me@work/study.db?x",
        "postgresql://host:5432/db",
        "postgresql://host:many/x",
    ],
)
def test_a_url_without_password_is_unchanged(url):
    assert without_password(url) == url


def test_a_file_needs_no_shared_memory(tmp_path):
    with open_storage(None, tmp_path) as storage, storage.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "truncate"
        assert {path.name for path in tmp_path.iterdir()} <= {"study.db", "study.db-journal"}
