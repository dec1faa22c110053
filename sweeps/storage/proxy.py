"""Proxy: one process that connects many workers to a database."""

import errno
import os
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from optuna.storages import get_storage, run_grpc_proxy_server

from routers import ConfigError, OptionError

from .connect import open_storage

#: Valid ports: 0 would be a random one, which workers do not know.
PORTS = range(1, 65536)


def serve(url: str, host: str, port: int) -> None:
    """Serve a database to workers that have ``storage=grpc://host:port``, until a signal.

    A database accepts few connections; the proxy needs one for all workers, and reads finished
    trials once. It does not authenticate: let it listen only on networks where everyone may read
    and write the study. Other machines connect only if ``host`` is an address of the network.

    Raises:
        ConfigError: if the database cannot be opened or the address is not available.
    """
    addresses = _addresses(host, port)
    with open_storage(url, Path()) as storage:
        print(_invitation(host, port, addresses), flush=True)
        run_grpc_proxy_server(get_storage(storage), host=host, port=port)


def _addresses(host: str, port: int) -> list[str]:
    """The addresses of a host, after a check that a server can listen there.

    Checked without gRPC, whose servers would share a port: each would get some of the workers.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise OptionError(
            "host", host, f"a name or address of this machine, or 0.0.0.0 for all of them ({error})"
        ) from error
    errors = []
    for family, *_, addr in found:
        try:
            socket.create_server(addr[:2], family=family).close()
        except OSError as error:
            errors.append(error)
    in_use = any(each.errno == errno.EADDRINUSE for each in errors)
    if in_use or len(errors) == len(found):
        reason = os.strerror(errors[-1].errno or 0)
        raise ConfigError(
            f"host={host} port={port}: cannot listen there ({reason}); choose another port or a "
            "host of this machine, or stop the process that uses the port"
        )
    return [str(addr[0]) for *_, addr in found]


def _invitation(host: str, port: int, addresses: Sequence[str]) -> str:
    """The setting for workers, and which machines can connect.

    >>> _invitation("localhost", 13000, ["127.0.0.1"])
    'storage=grpc://localhost:13000 for workers on this machine; host=0.0.0.0 accepts others'
    """
    parsed = [ip_address(address.partition("%")[0]) for address in addresses]
    shown, users = host, "every machine that can connect: there is no password"
    if all(address.is_loopback for address in parsed):
        users = "workers on this machine; host=0.0.0.0 accepts others"
    elif any(address.is_unspecified for address in parsed):
        shown = socket.gethostname()
    return f"storage=grpc://{shown}:{port} for {users}"
