"""Parts of steps that can run again after a failure.

CREATE INDEX CONCURRENTLY runs outside a transaction and commits what stands before it in the step. If it fails, the
next ``upgrade`` runs the whole step again.
"""

from alembic import op
from sqlalchemy import text


def has_table(name: str) -> bool:
    """Return whether the table ``<schema>.<name>`` exists: an earlier attempt of this step has created it."""
    return bool(op.get_bind().scalar(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": name}))


def has_column(table: str, column: str) -> bool:
    """Return whether ``<schema>.<table>`` has the column: an earlier attempt of this step has added it."""
    found = "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attname = :column)"
    return bool(op.get_bind().scalar(text(found), {"table": table, "column": column}))


def create_index_concurrently(name: str, on: str, *, unique: bool = False) -> None:
    """Create the index ``<schema>.<name>`` while its table is in use, within an ``autocommit_block``.

    ``on`` is what follows ON. The invalid index that an interrupted attempt leaves is dropped first.
    """
    schema, _, index = name.rpartition(".")
    op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema}.{index}")
    op.execute(f"CREATE {'UNIQUE ' if unique else ''}INDEX CONCURRENTLY {index} ON {on}")
