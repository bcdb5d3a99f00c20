"""Plans: courses that a subscription gives access to, paid per month or year."""

from calendar import monthrange
from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, new_id
from core.revision import Revised
from models.errors import NotFound

Interval = Literal["month", "year"]
_MONTHS = {"month": 1, "year": 12}


class Plan(Revised, Base):
    """The terms offered now. A subscription has its own copy, so a change of the plan does not affect it."""

    __tablename__ = "plans"
    __table_args__ = ({"schema": "payments"},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    amount_minor: Mapped[int]
    currency: Mapped[str]
    interval: Mapped[Interval]
    trial_days: Mapped[int]
    course_ids: Mapped[list[str]]
    on_sale: Mapped[bool]
    created_at: Mapped[datetime]

    @classmethod
    def create(cls, *, id: UUID | None = None, at: datetime, **fields: Any) -> Self:  # noqa: A002 as the column
        return cls(id=id or new_id(), on_sale=True, created_at=at, revision=1, **fields)

    @classmethod
    def get(cls, session: Session, plan_id: UUID, *, for_update: bool = False) -> Self:
        """Return a plan, on sale or not; locked if ``for_update``. Raises NotFound."""
        plan = session.get(cls, plan_id, with_for_update=for_update)
        if plan is None:
            raise NotFound("plan", str(plan_id))
        return plan

    @classmethod
    def get_on_sale(cls, session: Session, plan_id: UUID) -> Self:
        """Return a plan that is on sale. Raises NotFound."""
        plan = cls.get(session, plan_id)
        if not plan.on_sale:
            raise NotFound("plan on sale", str(plan_id))
        return plan

    @classmethod
    def list_page(cls, session: Session, *, limit: int, after: UUID | None) -> list[Self]:
        """List the plans on sale, newest first. ``after`` is the last id of the previous page."""
        plans = select(cls).where(cls.on_sale).order_by(cls.id.desc()).limit(limit)
        return list(session.scalars(plans.where(cls.id < after) if after else plans))

    def to_response(self) -> dict[str, Any]:
        """Return the representation as an item of GET /v1/plans."""
        return {
            "id": self.id,
            "name": self.name,
            "price": {"amount_minor": self.amount_minor, "currency": self.currency},
            "interval": self.interval,
            "trial_days": self.trial_days,
            "course_ids": self.course_ids,
            "on_sale": self.on_sale,
            "version": self.revision,
        }


def add_periods(start: datetime, interval: Interval, periods: int) -> datetime:
    """Return ``start`` plus ``periods`` months or years: the same day, or the last day of a shorter month."""
    month = start.month - 1 + periods * _MONTHS[interval]
    year, month = start.year + month // 12, month % 12 + 1
    return start.replace(year=year, month=month, day=min(start.day, monthrange(year, month)[1]))
