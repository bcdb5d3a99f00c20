"""The number of SQL statements that a block executes."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, event


@contextmanager
def at_most(statements: int, engine: Engine) -> Iterator[None]:
    """Fail if the block executes more statements. Savepoints are not counted: the session fixture creates them."""
    executed: list[str] = []

    def note(_connection, _cursor, statement: str, *_: object) -> None:
        if "SAVEPOINT" not in statement:
            executed.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert len(executed) <= statements, "\n".join([f"{len(executed)} statements:", *executed])
