"""The version of an aggregate that a projection reflects, if the projection's table has no column for it."""

from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base


class AppliedVersion(Base):
    """The highest version (``ce_sequence``) of a key that was applied to a projection.

    It exists also if the projection has no row yet, so that a late event cannot undo a newer one.
    """

    __tablename__ = "applied_versions"
    __table_args__ = ({"schema": "bus"},)

    projection: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]

    @classmethod
    def advance(cls, session: Session, projection: str, key: str, version: int | None) -> bool:
        """Store ``version``; return False if the projection already reflects this version or a later one.

        A call without a version comes from a test or a rebuild, not from the bridge; its event is always applied.
        """
        if version is None:
            return True
        row = {"projection": projection, "key": key, "version": version}
        return session.connection().execute(_ADVANCE, row).first() is not None

    @classmethod
    def clear(cls, session: Session, projection: str, key: str) -> None:
        """Delete the version of a key, for a rebuild."""
        session.execute(delete(cls).where(cls.projection == projection, cls.key == key))

    @classmethod
    def erase_user(cls, session: Session, projections: tuple[str, ...], user_id: UUID) -> None:
        """Delete the versions whose key starts with the id of an erased user."""
        theirs = cls.projection.in_(projections) & cls.key.startswith(f"{user_id}:")
        session.execute(delete(cls).where(theirs))


# Built once: building a statement takes longer than executing it.
_ROW = insert(AppliedVersion)
_ADVANCE = _ROW.on_conflict_do_update(
    index_elements=["projection", "key"],
    set_={"version": _ROW.excluded.version},
    where=AppliedVersion.version < _ROW.excluded.version,
).returning(AppliedVersion.version)
