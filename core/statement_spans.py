"""A span for each statement that an engine executes for a request, a task or an event."""

import re
from typing import Any

from sqlalchemy import Engine, event

from . import tracing
from .log import context_fields, describe_error

_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+([\w.]+)")


def trace_statements(engine: Engine) -> None:
    """Make each statement of ``engine`` a span, if this process sends traces.

    The text of a statement has placeholders in place of its parameters, so it contains no personal data.
    """
    if not tracing.is_on():
        return

    @event.listens_for(engine, "before_cursor_execute")
    def begin(_connection: Any, _cursor: Any, statement: str, _parameters: Any, context: Any, _many: bool) -> None:  # noqa: FBT001 SQLAlchemy's signature
        if context is not None and "traceparent" in context_fields():
            table, verb = _TABLE.search(statement), statement.split(None, 1)[0].upper()
            name = f"{verb} {table[1]}" if table else verb
            attributes = {"db.system.name": "postgresql", "db.query.text": statement}
            context.coursebus_span = tracing.span(name, "client", attributes=attributes)

    @event.listens_for(engine, "after_cursor_execute")
    def end(_connection: Any, _cursor: Any, _statement: str, _parameters: Any, context: Any, _many: bool) -> None:  # noqa: FBT001
        if began := getattr(context, "coursebus_span", None):
            began.end()

    @event.listens_for(engine, "handle_error")
    def fail(failure: Any) -> None:
        if began := getattr(failure.execution_context, "coursebus_span", None):
            began.fail(describe_error(failure.original_exception))
            began.end()
