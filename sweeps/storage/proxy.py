"""One process that talks to a database for many workers."""

import errno
import os
import socket
import warnings
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.storages import get_storage, run_grpc_proxy_server
from rich.console import Console

from routers import ConfigError, OptionError

from .connect import open_storage

#: A port that others are to know is one of these.
PORTS = range(1, 65536)


def serve(url: str, host: str, port: int, console: Console) -> None:
    """Serve a database to workers that have ``storage=grpc://host:port``, until a signal.

    A database has few connections; the proxy takes one for all, and reads what is finished once.
    It asks nobody who they are: let it listen only where everyone may read and write the study.

    Args:
        url: of the database.
        host: to listen on; others than this machine reach it only by an address of the network.
        port: to listen on.
        console: is told where.

    Raises:
        ConfigError: where the database cannot be opened, or nobody can listen there.
    """
    places = _places(host, port)
    with open_storage(url, Path()) as storage:
        words = _invitation(host, port, places)
        console.print(words, soft_wrap=True, highlight=False, markup=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            run_grpc_proxy_server(get_storage(storage), host=host, port=port)


def _places(host: str, port: int) -> list[str]:
    """The addresses of a host, when it is known that a server can listen there.

    Tried without gRPC, whose servers would share a port: each would get some of the workers.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise OptionError(
            "host", host, f"a name or address of this machine, or 0.0.0.0 for all of them ({error})"
        ) from error
    errors = [why for family, *_, place in found if (why := _refusal(family, place[:2]))]
    taken = any(error.errno == errno.EADDRINUSE for error in errors)
    if taken or len(errors) == len(found):
        reason = os.strerror(errors[-1].errno or 0)
        raise ConfigError(
            f"host={host} port={port}: nobody can listen there ({reason}); choose "
            "another port, a host of this machine, or end what listens"
        )
    return [str(place[0]) for *_, place in found]


def _refusal(family: int, place: Any) -> OSError | None:
    """Why a server cannot listen at an address."""
    try:
        socket.create_server(place, family=family).close()
    except OSError as error:
        return error
    return None


def _invitation(host: str, port: int, places: Sequence[str]) -> str:
    """What to tell workers, and who they can be.

    >>> _invitation("localhost", 13000, ["127.0.0.1"])
    'storage=grpc://localhost:13000 for workers of this machine alone; host=0.0.0.0 is for others'
    """
    addresses = [ip_address(place.partition("%")[0]) for place in places]
    if all(address.is_loopback for address in addresses):
        url = f"storage=grpc://{host}:{port}"
        return f"{url} for workers of this machine alone; host=0.0.0.0 is for others"
    everywhere = any(address.is_unspecified for address in addresses)
    url = f"storage=grpc://{socket.gethostname() if everywhere else host}:{port}"
    return f"{url} for whoever reaches it: there is no password"
