"""One process that talks to a database for many workers."""

import warnings
from pathlib import Path

from optuna.exceptions import ExperimentalWarning
from optuna.storages import run_grpc_proxy_server
from rich.console import Console

from ._store import open_storage


def serve(url: str, host: str, port: int, console: Console) -> None:
    """Serve a database to workers that have ``storage=grpc://host:port``, until a signal.

    A database has few connections; the proxy takes one for all. It asks nobody who they are:
    let it listen only where everyone may read and write the study.

    Args:
        url: of the database.
        host: to listen on.
        port: to listen on.
        console: is told where.

    Raises:
        ConfigError: where the database cannot be opened.
    """
    with open_storage(url, Path()) as storage:
        console.print(f"Workers take part with storage=grpc://{host}:{port}", soft_wrap=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            run_grpc_proxy_server(storage, host=host, port=port)
