"""Optimistic locking of rows that staff edit: a change carries the revision that its author has read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from sqlalchemy.orm import Mapped, Session, mapped_column, object_session

from core.errors import PreconditionFailed


class Revised:
    """A row whose ``revision`` counts its edits: 1, 2, 3 …

    It is independent of ``Aggregate.version``, which counts events and must have no gaps.
    """

    revision: Mapped[int] = mapped_column(default=1)

    @contextmanager
    def edit(self, kind: str, expected: int) -> Iterator[None]:
        """Increment the revision of the locked row if the block changes a value; the block must run no query.

        Raises PreconditionFailed if the revision is not ``expected``.
        """
        if expected != self.revision:
            raise PreconditionFailed(kind, str(self.revision))
        yield
        if cast("Session", object_session(self)).is_modified(self):
            self.revision += 1
