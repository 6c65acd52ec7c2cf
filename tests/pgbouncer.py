"""A real PgBouncer, Debian's, between a test and a PostgreSQL. Source: https://www.pgbouncer.org/config.html."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from dev.testing.stack import Process, free_port, wait_until

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
UNPRIVILEGED_USER = "nobody"

needs_pgbouncer = pytest.mark.skipif(
    PROGRAM is None and os.environ.get("CI") != "true", reason="PgBouncer is not installed (Debian's package pgbouncer)"
)


@contextmanager
def pgbouncer(database_url: str, mode: str) -> Iterator[str]:
    """Run a PgBouncer in front of a database, with few connections, and return the URL that leads through it."""
    assert PROGRAM, "PgBouncer is not installed (Debian's package pgbouncer)"
    url, port = make_url(database_url), free_port()
    folder = Path(tempfile.mkdtemp(prefix="chatrelay-pgbouncer-"))
    (folder / "users").write_text(f'"{url.username}" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n{url.database} = host={url.host} port={url.port} user={url.username}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\npool_mode = {mode}\n"
        f"auth_type = trust\nauth_file = {folder / 'users'}\n"
        f"default_pool_size = {8 if mode == 'transaction' else 100}\nmax_client_conn = 500\n"
    )
    command = [PROGRAM, str(folder / "pgbouncer.ini")]
    if os.geteuid() == 0:
        command[1:1] = ["-u", UNPRIVILEGED_USER]
        for path in (folder, *folder.iterdir()):
            os.chown(path, pwd.getpwnam(UNPRIVILEGED_USER).pw_uid, -1)
    process = Process("pgbouncer", command, dict(os.environ), folder)
    through = url.set(host="127.0.0.1", port=port)
    try:
        wait_until(lambda: _answers(through.set(drivername="postgresql").render_as_string(hide_password=False)), "PgBouncer")
        yield through.render_as_string(hide_password=False)
    finally:
        process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
