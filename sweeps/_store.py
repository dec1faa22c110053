"""Where studies are kept: SQLite in the sweep's folder, a database or a proxy by its URL."""

import logging
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, GrpcStorageProxy, RDBStorage
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from routers import ConfigError

STUDY = "study.db"

#: Seconds to wait for a database that another process writes to.
PATIENCE_SECONDS = 120


#: Seconds to wait for a proxy to answer.
PROXY_SECONDS = 20

#: Where a proxy listens if nothing else is said.
PROXY_PORT = 13000


@contextmanager
def open_storage(url: str | None, folder: Path) -> Iterator[BaseStorage]:
    """The storage of a sweep, for as long as it is needed.

    Args:
        url: of a database or a proxy, or None for SQLite in the folder.
        folder: of the sweep.

    Raises:
        ConfigError: where it cannot be opened or written.
    """
    quiet_optuna()
    shown = study_url(url, folder)
    try:
        place = make_url(shown)
        storage, close = _OPENERS.get(place.get_backend_name(), _open_server)(place)
    except (ArgumentError, SQLAlchemyError, ImportError, RuntimeError, ConnectionError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ConfigError(
            f"storage={without_password(shown)}: cannot be opened ({reason}); a URL is "
            "sqlite:///FILE, postgresql+psycopg://USER@HOST/NAME (pip install "
            "'switchyard[postgres]') or grpc://HOST:PORT (python -m sweeps proxy)"
        ) from error
    try:
        yield storage
    finally:
        close()


#: A storage, and what to call when it is no longer needed.
Opened = tuple[BaseStorage, Callable[[], None]]


def _open_server(url: URL) -> Opened:
    storage = RDBStorage(url.render_as_string(hide_password=False))
    return storage, storage.engine.dispose


def _open_sqlite(url: URL) -> Opened:
    patience = {"connect_args": {"timeout": PATIENCE_SECONDS}}
    storage = RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=patience)
    _prepare_sqlite(storage)
    return storage, storage.engine.dispose


def _open_proxy(url: URL) -> Opened:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        proxy = GrpcStorageProxy(host=url.host or "localhost", port=url.port or PROXY_PORT)
    try:
        proxy.wait_server_ready(PROXY_SECONDS)
    except ConnectionError:
        raise ConnectionError(f"nothing answers within {PROXY_SECONDS} s") from None
    return proxy, proxy.close


_OPENERS = {"sqlite": _open_sqlite, "grpc": _open_proxy}


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
