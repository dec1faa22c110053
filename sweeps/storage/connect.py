"""Connection to the storage of a sweep: SQLite in its folder, a database or a proxy by URL."""

import logging
import re
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from grpc import RpcError  # type: ignore[import-untyped]
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, GrpcStorageProxy, RDBStorage
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError, SQLAlchemyError

from routers import ConfigError
from tasks import file_lock

from .liveness import LivenessMonitor
from .storage_lock import GRACE_SECONDS, Lock, StorageLock

STUDY = "study.db"

#: Seconds to wait for a database that another process writes to, and for a proxy to answer.
BUSY_SECONDS, PROXY_SECONDS = 120, 20

#: Default port of a proxy.
PROXY_PORT = 13000

#: Secrets in the query of a URL, such as ``password=``.
SECRET = re.compile(r"([?&][^=&]*(?:pass|pwd|secret|token|key)[^=&]*=)[^&]*", re.IGNORECASE)

#: Errors of a storage that no longer answers.
STORAGE_ERRORS = (StorageInternalError, SQLAlchemyError, RpcError)


@contextmanager
def open_storage(url: str | None, folder: Path) -> Iterator[BaseStorage]:
    """Open the storage of a sweep; it is closed at the end of the context.

    ``url`` is that of a database or a proxy, or None for SQLite in the sweep's folder.

    Raises:
        ConfigError: if it cannot be opened or written.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # the sweep prints its own messages
    logging.getLogger("alembic").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of samplers and proxies
        storage, close = _open(study_url(url, folder))
        try:
            yield storage
        finally:
            close()


#: A storage and the function that closes it.
Opened = tuple[BaseStorage, Callable[[], None]]


def _open(url: str) -> Opened:
    try:
        parsed = _parse(url)
        openers = {"sqlite": _open_sqlite, "grpc": _open_proxy}
        return openers.get(parsed.get_backend_name(), _open_server)(parsed)
    except (ValueError, SQLAlchemyError, ImportError, RuntimeError, OSError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ConfigError(
            f"storage={without_password(url)}: cannot be opened ({reason}); a URL is "
            "sqlite:///FILE, postgresql://USER@HOST/NAME (pip install "
            "'switchyard-moe[postgres]') or grpc://HOST:PORT (python -m sweeps proxy)"
        ) from error


def _parse(url: str) -> URL:
    parsed = make_url(url)
    has_no_driver = parsed.drivername in ("postgresql", "postgres")
    return parsed.set(drivername="postgresql+psycopg") if has_no_driver else parsed


def _open_server(url: URL) -> Opened:
    connect = partial(_connect, url, pool_pre_ping=True)  # replaces connections that were dropped
    for _ in range(4):  # machines that start at the same time all create the tables
        with suppress(IntegrityError, ProgrammingError):
            return connect()
        time.sleep(0.2)
    return connect()


def _open_sqlite(url: URL) -> Opened:
    with file_lock(_lock_path(url)):
        storage, close = _connect(url, connect_args={"timeout": BUSY_SECONDS})
        _prepare_sqlite(storage.engine)
    return storage, close


def _connect(url: URL, **options: Any) -> tuple[RDBStorage, Callable[[], None]]:
    storage = RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=options)
    return storage, storage.engine.dispose


def _lock_path(url: URL) -> Path:
    """The lock file of an SQLite file, in the same folder: all users of the file can share it."""
    if not url.database or url.database == ":memory:":
        raise ConnectionError("a sweep must outlive its process; name a file")
    file = Path(url.database)
    if not file.parent.is_dir():
        raise ConnectionError(f"there is no folder {file.parent}")
    return file.with_name(f"{file.name}.lock")


def _open_proxy(url: URL) -> Opened:
    proxy = GrpcStorageProxy(host=url.host or "localhost", port=url.port or PROXY_PORT)
    try:
        proxy.wait_server_ready(PROXY_SECONDS)
    except ConnectionError:
        raise ConnectionError(f"nothing answers within {PROXY_SECONDS} s") from None
    return proxy, proxy.close


def sweep_lock(url: str | None, folder: Path, storage: BaseStorage, name: str) -> Lock:
    """The lock that lets one process at a time change the trials of a sweep, on all machines.

    ``url`` is that of the opened storage, or None for SQLite in the sweep's folder.
    """
    parsed = _parse(study_url(url, folder))
    if parsed.get_backend_name() == "sqlite":  # fast, and released as soon as its holder is dead
        return partial(file_lock, _lock_path(parsed))
    return StorageLock(lock_study(name), storage, LivenessMonitor(GRACE_SECONDS)).acquire


def lock_study(name: str) -> str:
    """Name of the study that serves as the lock of a sweep and has no runs."""
    return f"{name}/lock"


def study_url(url: str | None, folder: Path) -> str:
    """The URL of the storage of a sweep.

    >>> study_url(None, Path("runs/digits"))
    'sqlite:///runs/digits/study.db'
    """
    return url or f"sqlite:///{folder / STUDY}"


def without_password(url: str) -> str:
    """Replace the secrets in a URL, to print or store it.

    >>> without_password("postgresql+psycopg://me:secret@host/study")
    'postgresql+psycopg://me:***@host/study'
    >>> without_password("postgresql://host/study?password=secret&user=me")
    'postgresql://host/study?password=***&user=me'
    >>> without_password("postgresql:/me:secret@host/study")
    'postgresql:/***@host/study'
    """
    try:
        parsed = make_url(url)
        shown = parsed.render_as_string(hide_password=True)
    except (ArgumentError, ValueError):  # not a URL, or its port is not a number
        return _without_userinfo(url)
    if "@" in (parsed.host or "") or re.search(":.*@", parsed.database or ""):
        return _without_userinfo(url)  # part of a password was parsed as something else
    return SECRET.sub(r"\1***", shown)


def _without_userinfo(url: str) -> str:
    """The part of a malformed URL after the last position where a password may end."""
    rest = re.sub(r"^[\w+.-]*:/*", "", url)
    scheme = url[: len(url) - len(rest)]
    before, at, host = rest.rpartition("@")
    if "?" in before:  # then the last @ may be part of a query
        return f"{scheme}***"
    host, query, _ = host.partition("?")
    return f"{scheme}{'***@' if at else ''}{host}{'?***' if query else ''}"


def _prepare_sqlite(engine: Engine) -> None:
    """Let several processes write in turn, and lose no data if one is killed.

    A transaction takes the lock when it begins. The driver takes it at the first write, so two
    processes could both read that a trial is waiting, and both run it. A write-ahead log costs
    one flush of the disk; a journal costs several.
    """

    @event.listens_for(engine, "connect")
    def connect(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # begin() starts transactions
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # close the connections made without these settings
