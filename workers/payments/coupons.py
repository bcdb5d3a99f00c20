"""Manage coupons. Checkouts redeem them."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.db import utc_now
from models.commands.payments import CouponLimits, CouponTerms
from models.payments import Coupon
from workers import task


@task
def create_coupon(session: Session, *, terms: CouponTerms) -> dict[str, Any]:
    """Create a coupon. Raises CouponCodeExists."""
    return Coupon.create(session, terms.fields(), at=utc_now()).to_response()


@task
def show_coupon(session: Session, *, coupon_id: UUID) -> dict[str, Any]:
    """Return a coupon. Raises NotFound."""
    return Coupon.get(session, coupon_id).to_response()


@task
def change_coupon(session: Session, *, coupon_id: UUID, expected_version: int, limits: CouponLimits) -> dict[str, Any]:
    """Change a coupon's limits; redemptions stay valid.

    Raises NotFound, PreconditionFailed, CouponLimitBelowUsage, CouponPeriodInvalid.
    """
    coupon = Coupon.get_for_update(session, coupon_id)
    with coupon.edit("coupon", expected_version):
        coupon.change(limits.fields())
    return coupon.to_response()


@task
def list_coupons(session: Session, *, limit: int, after: UUID | None) -> dict[str, Any]:
    """Return a page of coupons, newest first: {"items", "next"}."""
    found = Coupon.list_page(session, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [coupon.to_response() for coupon in shown], "next": shown[-1].id if len(found) > limit else None}
