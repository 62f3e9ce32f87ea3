"""A PostgreSQL server of the tests' own: made in a new folder, reached on 127.0.0.1, gone at the end."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
import sqlalchemy as sa

PROGRAMS = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
PASSWORD = "s3cret:p@ss/word"


class PostgresServer:
    """`url()` of a database in it; `stop` and `start` restart it with its data."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mtlsearch-postgres-"))
        self._user = "postgres" if os.geteuid() == 0 else None  # its programs refuse to run as root
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        password_file = self.folder / "password"
        password_file.write_text(PASSWORD)
        password_file.chmod(0o644)
        self._run("initdb", "-U", "mtl", "-A", "scram-sha-256", f"--pwfile={password_file}", "-N")
        self.start()

    def url(self, database: str = "postgres", password: str = PASSWORD) -> str:
        url = sa.URL.create("postgresql+psycopg", "mtl", password, "127.0.0.1", self.port, database)
        return url.render_as_string(hide_password=False)

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-w", "-m", "fast", "stop")

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        assert PROGRAMS is not None
        command = [str(PROGRAMS / program), "-D", str(self.folder / "data"), *arguments]
        # A pipe would be inherited by the server, and waited for as long as that lives.
        subprocess.run(
            command,
            user=self._user,
            cwd=self.folder,
            check=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def start_or_skip() -> PostgresServer:
    """A running server; skips the test where its programs, its user or the driver are missing."""
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed")
    if PROGRAMS is None:
        pytest.skip("no PostgreSQL server programs under /usr/lib/postgresql")
    if os.geteuid() == 0 and not any(entry.pw_name == "postgres" for entry in pwd.getpwall()):
        pytest.skip("PostgreSQL refuses to run as root and there is no user postgres")
    return PostgresServer()
