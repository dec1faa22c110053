"""Where studies are kept: SQLite in the sweep's folder, a database or a proxy by its URL."""

import logging
import re
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import optuna
from grpc import RpcError  # type: ignore[import-untyped]
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, GrpcStorageProxy, RDBStorage
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError, SQLAlchemyError

from routers import ConfigError

from .file_lock import Lock, alone
from .liveness import LivenessMonitor
from .storage_lock import GRACE_SECONDS, StorageLock

STUDY = "study.db"

#: Seconds to wait for a database that another process writes to.
PATIENCE_SECONDS = 120

#: Seconds to wait for a proxy to answer.
PROXY_SECONDS = 20

#: Where a proxy listens if nothing else is said.
PROXY_PORT = 13000

#: Backends whose URL may leave out the driver.
DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}

#: How often opening is tried again: machines that begin at once all make the same tables.
RETRIES = 4

#: What a query of a URL may hold that is nobody's business, as in ``password=``.
SECRET = re.compile(r"([?&][^=&]*(?:pass|pwd|secret|token|key)[^=&]*=)[^&]*", re.IGNORECASE)

#: What is raised where a storage no longer answers.
LOST = (StorageInternalError, SQLAlchemyError, RpcError)


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
        place = _place(shown)
        storage, close = _OPENERS.get(place.get_backend_name(), _open_server)(place)
    except (ValueError, SQLAlchemyError, ImportError, RuntimeError, OSError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ConfigError(
            f"storage={without_password(shown)}: cannot be opened ({reason}); a URL is "
            "sqlite:///FILE, postgresql://USER@HOST/NAME (pip install "
            "'switchyard[postgres]') or grpc://HOST:PORT (python -m sweeps proxy)"
        ) from error
    try:
        yield storage
    finally:
        close()


#: A storage, and what to call when it is no longer needed.
Opened = tuple[BaseStorage, Callable[[], None]]


def _place(url: str) -> URL:
    place = make_url(url)
    return place.set(drivername=DRIVERS.get(place.drivername, place.drivername))


def _open_server(url: URL) -> Opened:
    for _ in range(RETRIES):
        with suppress(IntegrityError, ProgrammingError):
            return _connected(url)
        time.sleep(0.2)
    return _connected(url)


def _connected(url: URL) -> Opened:
    # a connection that the server or the network dropped meanwhile is made anew
    lasting = {"pool_pre_ping": True}
    storage = RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=lasting)
    return storage, storage.engine.dispose


def _open_sqlite(url: URL) -> Opened:
    patience = {"connect_args": {"timeout": PATIENCE_SECONDS}}
    with alone(_beside(url)):
        storage = RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=patience)
        _prepare_sqlite(storage)
    return storage, storage.engine.dispose


def _beside(url: URL) -> Path:
    """The lock of a file: whoever can share the file can share it."""
    if not url.database or url.database == ":memory:":
        raise ConnectionError("a sweep must outlive its process; name a file")
    file = Path(url.database)
    if not file.parent.is_dir():
        raise ConnectionError(f"there is no folder {file.parent}")
    return file.with_name(f"{file.name}.lock")


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


def lock_of(url: str | None, folder: Path, storage: BaseStorage, name: str) -> Lock:
    """What lets one process at a time change the trials of a sweep, on all its machines.

    Args:
        url: of the storage, or None for SQLite in the folder.
        folder: of the sweep.
        storage: that was opened.
        name: of the sweep.
    """
    place = _place(study_url(url, folder))
    return _LOCKS.get(place.get_backend_name(), _turn)(place, storage, name)


def lock_study(name: str) -> str:
    """The study that is the lock of a sweep, and holds no runs."""
    return f"{name}/lock"


def _turn(url: URL, storage: BaseStorage, name: str) -> Lock:
    return StorageLock(lock_study(name), storage, LivenessMonitor(GRACE_SECONDS)).alone


def _file(url: URL, storage: BaseStorage, name: str) -> Lock:
    return partial(alone, _beside(url))


#: A file's lock is quick, and free as soon as its holder is dead.
_LOCKS = {"sqlite": _file}


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
    >>> without_password("postgresql://host/study?password=secret&user=me")
    'postgresql://host/study?password=***&user=me'
    >>> without_password("postgresql:/me:secret@host/study")
    'postgresql:/***@host/study'
    """
    try:
        place = make_url(url)
        shown = place.render_as_string(hide_password=True)
    except (ArgumentError, ValueError):  # not a URL, or with a port that is no number
        return _after_secrets(url)
    if "@" in (place.host or "") or re.search(":.*@", place.database or ""):
        return _after_secrets(url)  # part of a password was read as something else
    return SECRET.sub(r"\1***", shown)


def _after_secrets(url: str) -> str:
    """What follows the last place where a password of what is no good URL may end."""
    rest = re.sub(r"^[\w+.-]*:/*", "", url)
    scheme = url[: len(url) - len(rest)]
    before, at, place = rest.rpartition("@")
    if "?" in before:  # then the last @ may be part of a query
        return f"{scheme}***"
    place, asked, _ = place.partition("?")
    return f"{scheme}{'***@' if at else ''}{place}{'?***' if asked else ''}"


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
