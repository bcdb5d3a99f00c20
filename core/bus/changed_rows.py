"""The rows that a transaction changes, with their values before and after: what the audit log keeps of a command."""

from collections.abc import Iterator
from typing import Any

import msgspec
from sqlalchemy import event, inspect
from sqlalchemy.orm import InstanceState, Mapper, Session

_PRIVATE = "(private)"
_ROWS_MAX = 50  # of one command; the rest is left out
_TEXT_MAX = 500  # characters of a text, or of a JSON value
_BUS = "bus"  # the schema of the outbox, the inbox and the audit log itself

Row = dict[str, Any]


def collect_changes(session: Session, rows: list[Row]) -> None:
    """Append the rows that ``session`` flushes to ``rows``: {"table", "id", "before", "after"}.

    ``before`` of a new row and ``after`` of a deleted one are None. Rows of the bus are left out, and so are rows that
    a statement changes without loading them. The values of PRIVATE columns are replaced.
    """

    @event.listens_for(session, "before_flush")
    def collect(_session: Session, _context: object, _instances: object) -> None:
        for row in _changed_rows(session):
            if len(rows) < _ROWS_MAX:
                rows.append(row)


def _changed_rows(session: Session) -> Iterator[Row]:
    for changed in (*session.new, *session.dirty, *session.deleted):
        state: InstanceState[Any] = inspect(changed)
        table: Any = state.mapper.local_table
        if table.schema == _BUS:
            continue
        before, after = _values(state)
        if before or after:
            yield {
                "table": table.fullname,
                "id": ":".join(str(getattr(changed, _attribute(state.mapper, key))) for key in table.primary_key),
                "before": None if changed in session.new else before,
                "after": None if changed in session.deleted else after,
            }


def _values(state: InstanceState[Any]) -> tuple[Row, Row]:
    """Return the changed values of a row before and after; all its values for a row that is deleted."""
    before: Row = {}
    after: Row = {}
    is_deleted = state.session is not None and state.obj() in state.session.deleted
    for attribute in state.mapper.column_attrs:
        [column] = attribute.columns
        history = state.attrs[attribute.key].history
        if is_deleted:
            before[column.name] = _shown(column, state.dict.get(attribute.key))
        elif history.has_changes():
            before[column.name] = _shown(column, history.deleted[0] if history.deleted else None)
            after[column.name] = _shown(column, history.added[0] if history.added else None)
    return before, after


def _attribute(mapper: Mapper[Any], column: Any) -> str:
    return mapper.get_property_by_column(column).key


def _shown(column: Any, value: Any) -> Any:
    """Return ``value`` as JSON, shortened; a fixed text for a value that is private."""
    if value is None:
        return None
    if column.info.get("private"):
        return _PRIVATE
    if isinstance(value, str):
        return value if len(value) <= _TEXT_MAX else f"{value[:_TEXT_MAX]}…"
    plain = msgspec.to_builtins(value)
    if isinstance(plain, list | dict) and len(encoded := msgspec.json.encode(plain)) > _TEXT_MAX:
        return f"({len(encoded)} bytes)"
    return plain
