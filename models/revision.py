"""Optimistic locking of rows that staff edit: a change names the revision that its author has seen."""

from sqlalchemy.orm import Mapped, mapped_column

from .errors import PreconditionFailed


class Revised:
    """A row with a ``revision`` that counts its edits: 1, 2, 3 …

    It is apart from ``Aggregate.version``, which counts events and may have no gaps.
    """

    revision: Mapped[int] = mapped_column(default=1)

    def revise(self, kind: str, expected: int) -> None:
        """Begin an edit of the locked row. Raises PreconditionFailed where it has been edited since ``expected``."""
        if expected != self.revision:
            raise PreconditionFailed(kind, str(self.revision))
        self.revision += 1
