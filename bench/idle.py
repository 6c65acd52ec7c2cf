"""What do an API process and a worker cost that have nothing to do? CPU and transactions: `python -m bench.idle [SECONDS]`."""

import sys
import time

from sqlalchemy import create_engine, text

from bench.measuring import Bench, bench, cpu_seconds, resident_kib

SECONDS = 60
SETTLE_SECONDS = 15.0
"""After the start, until leases count as steady and a worker sweeps."""

_TRANSACTIONS = text("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()")


def transactions(url: str) -> int:
    """Return how many transactions a PostgreSQL database has seen; asking adds one."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return int(connection.execute(_TRANSACTIONS).scalar_one())
    finally:
        engine.dispose()


def measure(running: Bench, seconds: float) -> None:
    """Do nothing for so long, and print what that took."""
    url = running.stack.environment["DATABASE_URL"]
    time.sleep(SETTLE_SECONDS)
    before, count = {name: cpu_seconds(process) for name, process in running.processes().items()}, transactions(url)
    time.sleep(seconds)
    for name, process in running.processes().items():
        share = (cpu_seconds(process) - before[name]) / seconds
        print(f"{name}: {100 * share:.2f} % of a core, {resident_kib(process) / 1024:.0f} MiB")
    print(f"PostgreSQL: {(transactions(url) - count) / seconds:.2f} transactions a second")


def main() -> None:
    """Measure one API process and one worker on PostgreSQL."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    with bench() as running:
        measure(running, seconds)


if __name__ == "__main__":
    main()
