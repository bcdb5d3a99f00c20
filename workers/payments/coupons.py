"""Manage coupons. Checkouts redeem them."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from core.db import utc_now
from models.payments import Coupon
from workers import task


class CouponLimits(msgspec.Struct, omit_defaults=True):
    """The changeable fields of a coupon. An omitted field stays unchanged; null removes the limit."""

    max_redemptions: int | msgspec.UnsetType | None = msgspec.UNSET
    max_per_user: int | msgspec.UnsetType | None = msgspec.UNSET
    starts_at: datetime | msgspec.UnsetType | None = msgspec.UNSET
    ends_at: datetime | msgspec.UnsetType | None = msgspec.UNSET
    course_ids: list[str] | msgspec.UnsetType | None = msgspec.UNSET

    def fields(self) -> dict[str, Any]:
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not msgspec.UNSET}


class CouponTerms(CouponLimits, kw_only=True):
    """All fields of a new coupon."""

    code: str
    kind: str
    value: int
    currency: str | None = None


@task
def create_coupon(session: Session, *, terms: CouponTerms) -> dict[str, Any]:
    """Create a coupon. Raises CouponCodeExists."""
    return Coupon.create(session, terms.fields(), at=utc_now()).to_response()


@task
def show_coupon(session: Session, *, coupon_id: UUID) -> dict[str, Any]:
    """Return a coupon. Raises NotFound."""
    return Coupon.get_for_update(session, coupon_id).to_response()


@task
def change_coupon(session: Session, *, coupon_id: UUID, expected_version: int, limits: CouponLimits) -> dict[str, Any]:
    """Change a coupon's limits; redemptions stay valid. Raises NotFound, PreconditionFailed, CouponLimitBelowUsage."""
    coupon = Coupon.get_for_update(session, coupon_id)
    coupon.revise("coupon", expected_version)
    coupon.change(limits.fields())
    return coupon.to_response()


@task
def list_coupons(session: Session, *, limit: int, after: UUID | None) -> dict[str, Any]:
    """Return a page of coupons, newest first: {"items", "next"}."""
    found = Coupon.list_page(session, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [coupon.to_response() for coupon in shown], "next": shown[-1].id if len(found) > limit else None}
