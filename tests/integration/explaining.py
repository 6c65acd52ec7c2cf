"""What PostgreSQL does for a statement: how many rows its scans read (EXPLAIN ANALYZE)."""

from typing import Any

from sqlalchemy import Executable, text

from shared.database import Database


def rows_touched(database: Database, statement: Executable) -> int:
    """Run a statement, take back what it changes, and return how many rows its scans read, those thrown away included."""
    with database.engine.connect() as connection:
        sql = str(statement.compile(connection, compile_kwargs={"literal_binds": True})).replace(":", "\\:")  # type: ignore[attr-defined]
        plan = connection.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")).scalar_one()
    return _rows(plan[0]["Plan"])


def _rows(node: dict[str, Any]) -> int:
    own = 0
    if node["Node Type"] in {"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan"}:
        own = int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
    return own + sum(_rows(each) for each in node.get("Plans", ()))
