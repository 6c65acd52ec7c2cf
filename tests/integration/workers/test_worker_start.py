"""A worker that cannot start says why, in one line, and ends: Celery alone would go on, and swallow messages."""

import subprocess
from pathlib import Path

from dev.paths import ROOT
from dev.testing.stack import BIN, SECRET_KEY, Redis

PATIENCE_SECONDS = 60


def test_a_worker_that_cannot_start_ends(empty_redis: Redis, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    variables = {
        "SECRET_KEY": SECRET_KEY,
        "REDIS_URL": empty_redis.url,
        "DATA_DIR": str(tmp_path / "file" / "data"),
        "PATH": str(BIN),
    }
    command = [str(BIN / "celery"), "-A", "workers.app", "worker", "--without-gossip", "--without-mingle"]
    ended = subprocess.run(command, cwd=ROOT, env=variables, check=False, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert ended.returncode == 1
    assert [line for line in ended.stderr.splitlines() if line.startswith("chatrelay: cannot start: ")]
    assert "Traceback" not in ended.stderr
