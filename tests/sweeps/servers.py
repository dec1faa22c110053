"""Servers that a test starts on this machine and stops."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def free_port() -> int:
    """A port that no process listens on."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def postgres_programs() -> Path | None:
    """The folder of PostgreSQL's programs: Debian keeps them out of the path."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    return Path(found).parent if found else None


@contextmanager
def postgres(programs: Path) -> Iterator[str]:
    """The URL of a new database on loopback, removed afterwards."""
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="switchyard-postgres-"))
    user = _someone()
    if user is not None:  # the server refuses to run as root
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"

    def call(program: str, *arguments: str) -> None:
        command = [str(programs / program), "-D", str(folder / "data"), *arguments]
        log = folder.with_suffix(".log")
        with log.open("a") as file:
            subprocess.run(command, check=True, user=user, cwd="/", stdout=file, stderr=file)

    try:
        call("initdb", "-U", "tester", "-A", "trust", "--no-sync")
        call("pg_ctl", "-w", "-o", settings, "start")
        try:
            yield f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)
        folder.with_suffix(".log").unlink(missing_ok=True)


def _someone() -> str | None:
    """Whom the server runs as where this process is root."""
    if os.getuid() != 0:
        return None
    with suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return "nobody"
