"""Connections to PostgreSQL that need fewer round trips: BEGIN and statements without a result are sent with others.

Most of the cost of a short statement is that of its round trip, in which both processes are woken up. The simple query
protocol takes several statements at once and stops at the first one that fails.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from psycopg2 import NotSupportedError, extensions
from psycopg2.errors import InFailedSqlTransaction


class _Cursor(extensions.cursor):
    def execute(self, query: Any, parameters: Any = None) -> None:
        connection = cast("DeferringConnection", self.connection)
        if not connection.has_unsent:
            super().execute(query, parameters)
            return
        statement = self.mogrify(query, parameters)  # may raise an error, so before anything is taken
        with connection.failed_by_errors():
            super().execute(connection.take_unsent() + statement)

    def executemany(self, query: Any, parameters: Any) -> None:
        connection = cast("DeferringConnection", self.connection)
        if connection.has_unsent:
            with connection.failed_by_errors():
                super().execute(connection.take_unsent())
        super().executemany(query, parameters)


class DeferringConnection(extensions.connection):
    """A connection that sends BEGIN, and the statements given to ``defer``, with the next statement of the transaction.

    The order of the statements does not change. An error of a deferred statement is raised by the next one, or by
    ``commit``. Like psycopg2's own class, it begins a transaction with the first statement unless ``autocommit`` is
    set. Server-side cursors are not supported.
    """

    def __init__(self, *arguments: Any, local_settings: str = "", **options: Any) -> None:
        """Connect. ``local_settings`` are statements that begin each transaction, such as SET LOCAL."""
        super().__init__(*arguments, **options)
        self._begin = b"BEGIN; " + local_settings.encode()
        super().set_session(autocommit=True)  # otherwise psycopg2 sends BEGIN
        self.cursor_factory = _Cursor
        self._is_autocommit = False
        self._unsent = b""
        self._has_begun = False  # BEGIN was sent, or is in ``_unsent``
        self._has_failed = False

    @property
    def autocommit(self) -> bool:
        return self._is_autocommit

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self._is_autocommit = value

    def set_isolation_level(self, level: int | None) -> None:
        """Choose between transactions with the default isolation level and autocommit. Raises NotSupportedError.

        SQLAlchemy calls this for ``isolation_level="AUTOCOMMIT"`` and when it takes a connection back.
        """
        if level not in {None, extensions.ISOLATION_LEVEL_AUTOCOMMIT, extensions.ISOLATION_LEVEL_READ_COMMITTED}:
            raise NotSupportedError("only the default isolation level and autocommit are supported")
        self._is_autocommit = level == extensions.ISOLATION_LEVEL_AUTOCOMMIT

    def defer(self, query: str, parameters: Any = None) -> None:
        """Send a statement with the next one, or with COMMIT."""
        with super().cursor() as cursor:
            self._unsent += cursor.mogrify(query, parameters) + b"; "

    @property
    def has_unsent(self) -> bool:
        """Return whether something must be sent before the next statement."""
        return bool(self._unsent) or self._has_failed or not (self._has_begun or self._is_autocommit)

    def take_unsent(self) -> bytes:
        """Return what must be sent before the next statement. Raises InFailedSqlTransaction."""
        if self._has_failed:
            raise InFailedSqlTransaction("a statement of this transaction has failed")
        before, self._unsent = self._unsent, b""
        if not (self._has_begun or self._is_autocommit):
            self._has_begun = True
            before = self._begin + before
        return before

    @contextmanager
    def failed_by_errors(self) -> Iterator[None]:
        """Refuse further statements until ``rollback`` if an error in the block left no transaction.

        After a syntax error PostgreSQL has executed none of the statements, not even BEGIN.
        """
        try:
            yield
        except BaseException:
            self._has_failed = self.get_transaction_status() == extensions.TRANSACTION_STATUS_IDLE
            raise

    def commit(self) -> None:
        """Send what was deferred, and COMMIT."""
        if self._has_begun or self._unsent:
            with self.failed_by_errors():
                self._execute(self.take_unsent() + b"COMMIT")
            self._has_begun = False

    def rollback(self) -> None:
        """Discard what was deferred, and send ROLLBACK if there is a transaction."""
        self._unsent, self._has_begun, self._has_failed = b"", False, False
        if self.get_transaction_status() != extensions.TRANSACTION_STATUS_IDLE:
            self._execute(b"ROLLBACK")

    def _execute(self, statement: bytes) -> None:
        with extensions.connection.cursor(self, cursor_factory=extensions.cursor) as cursor:
            cursor.execute(statement)
