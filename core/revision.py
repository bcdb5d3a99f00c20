"""Optimistic locking of rows that staff edit: a change carries the revision that its author has read."""

from sqlalchemy.orm import Mapped, mapped_column

from core.errors import PreconditionFailed


class Revised:
    """A row whose ``revision`` counts its edits: 1, 2, 3 …

    It is independent of ``Aggregate.version``, which counts events and must have no gaps.
    """

    revision: Mapped[int] = mapped_column(default=1)

    def revise(self, kind: str, expected: int) -> None:
        """Increment the revision of the locked row. Raises PreconditionFailed if it is not ``expected``."""
        if expected != self.revision:
            raise PreconditionFailed(kind, str(self.revision))
        self.revision += 1
