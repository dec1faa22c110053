"""Connection to the storage of a sweep: SQLite in its folder, or a database by URL."""

import logging
import re
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from routers import ConfigError

STUDY = "study.db"

#: Seconds to wait for a file that somebody reads, such as a dashboard.
BUSY_SECONDS = 120

#: Errors of a storage that no longer answers.
STORAGE_ERRORS = (StorageInternalError, SQLAlchemyError)


@contextmanager
def open_storage(url: str | None, folder: Path) -> Iterator[BaseStorage]:
    """Open the storage of a sweep; it is closed at the end of the context.

    ``url`` is that of a database, or None for SQLite in the sweep's folder.

    Raises:
        ConfigError: if it cannot be opened or written.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # the sweep prints its own messages
    logging.getLogger("alembic").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of samplers
        storage = _open(study_url(url, folder))
        try:
            yield storage
        finally:
            storage.engine.dispose()


def _open(url: str) -> RDBStorage:
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        is_file = parsed.get_backend_name() == "sqlite"
        if is_file and parsed.database in (None, "", ":memory:"):
            raise ConnectionError("a sweep must outlive its process; name a file")
        if is_file and not (parent := Path(str(parsed.database)).parent).is_dir():
            raise ConnectionError(f"there is no folder {parent}")
        if is_file:
            _check_intact(str(parsed.database))
        # on servers, connections that were dropped are replaced
        options = (
            {"connect_args": {"timeout": BUSY_SECONDS}} if is_file else {"pool_pre_ping": True}
        )
        text = parsed.render_as_string(hide_password=False)
        storage = RDBStorage(text, engine_kwargs=options)
    except (ValueError, SQLAlchemyError, ImportError, RuntimeError, OSError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        kinds = "sqlite:///FILE or postgresql://USER@HOST/NAME (the extra switchyard-moe[postgres])"
        problem = f"cannot be opened ({reason}); a URL is {kinds}"
        raise ConfigError(f"storage={without_password(url)}: {problem}") from error
    if is_file:
        event.listen(storage.engine, "connect", _prepare)
        storage.engine.dispose()  # closes the connections made without these settings
    return storage


def _prepare(connection: sqlite3.Connection, _: object) -> None:
    # a write-ahead log needs shared memory, which network file systems lack; a flush of the disk
    # for each change would take longer than all else that a trial costs, and what a power failure
    # destroys is made again from the folders of trials
    connection.execute("PRAGMA journal_mode=TRUNCATE")
    connection.execute("PRAGMA synchronous=OFF")


def _check_intact(path: str) -> None:
    """Raise ``ConfigError`` for a study that a power failure has damaged."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            (fault,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.OperationalError:  # it cannot be opened at all
        return
    except sqlite3.DatabaseError as error:
        fault = str(error)
    if fault != "ok":
        cure = "move it away, and the same command makes it again from the results"
        raise ConfigError(f"storage={path}: is damaged ({fault}), as by a power failure; {cure}")


def study_url(url: str | None, folder: Path) -> str:
    """The URL of the storage of a sweep.

    >>> study_url(None, Path("runs/digits"))
    'sqlite:///runs/digits/study.db'
    """
    return url or f"sqlite:///{folder / STUDY}"


def without_password(url: str) -> str:
    """Replace the parts of a URL that may hold a secret, to print or store it.

    >>> without_password("postgresql+psycopg://me:secret@host/study?sslmode=require")
    'postgresql+psycopg://***@host/study?***'
    """
    if url.startswith("sqlite:"):
        return url
    rest = re.sub(r"^[\w+.-]*:/*", "", url)
    scheme = url[: len(url) - len(rest)]
    before, at, host = rest.rpartition("@")
    if "?" in before:  # then the last @ may be part of a query
        return f"{scheme}***"
    host, query, _ = host.partition("?")
    return f"{scheme}{'***@' if at else ''}{host}{'?***' if query else ''}"
