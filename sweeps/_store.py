"""Where studies are kept: SQLite in the sweep's folder, or a database by its URL."""

import logging
import sqlite3
from pathlib import Path

import optuna
from optuna.storages import RDBStorage
from sqlalchemy import Connection, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from routers import ConfigError

STUDY = "study.db"

#: Seconds to wait for a database that another process writes to.
PATIENCE_SECONDS = 120


def open_storage(url: str | None, folder: Path) -> RDBStorage:
    """The storage of a sweep.

    Args:
        url: of a database, or None for SQLite in the folder.
        folder: of the sweep.

    Raises:
        ConfigError: where it cannot be opened or written.
    """
    quiet_optuna()
    shown = study_url(url, folder)
    try:
        sqlite = make_url(shown).get_backend_name() == "sqlite"
        options = {"connect_args": {"timeout": PATIENCE_SECONDS}} if sqlite else {}
        storage = RDBStorage(shown, engine_kwargs=options)
    except (ArgumentError, SQLAlchemyError, ImportError, RuntimeError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ConfigError(
            f"storage={without_password(shown)}: cannot be opened ({reason}); a URL is "
            "sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME (pip install "
            "'switchyard[postgres]')"
        ) from error
    if sqlite:
        _prepare_sqlite(storage)
    return storage


def study_url(url: str | None, folder: Path) -> str:
    """Where the studies of a sweep are.

    >>> study_url(None, Path("runs/digits"))
    'sqlite:///runs/digits/study.db'
    """
    return url or f"sqlite:///{folder / STUDY}"


def without_password(url: str) -> str:
    """A URL as it may be shown and written down.

    >>> without_password("postgresql+psycopg://me:secret@host/study")
    'postgresql+psycopg://me:***@host/study'
    """
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return url


def quiet_optuna() -> None:
    """Errors only: the sweep says what happens in its own words."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)


def _prepare_sqlite(storage: RDBStorage) -> None:
    """Let several processes write in turn, and lose nothing when one is killed.

    A transaction takes the lock where it begins. The driver takes it at the first write, so two
    processes could both read that a trial is waiting, and both run it. A log of writes ahead
    costs one flush of the disk where a journal costs several.
    """

    @event.listens_for(storage.engine, "connect")
    def connect(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # transactions are ours
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(storage.engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    storage.engine.dispose()  # connections from before
