"""Manage subscription plans."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.db import utc_now
from models.payments import Offer, Plan
from workers import task


@task
def create_plan(
    session: Session,
    *,
    name: str,
    amount_minor: int,
    currency: str,
    interval: str,
    trial_days: int,
    course_ids: list[UUID],
) -> dict[str, Any]:
    """Create a plan. Raises NotFound if one of its courses is not on sale."""
    for course_id in course_ids:
        Offer.get(session, course_id)
    plan = Plan.create(
        name=name,
        amount_minor=amount_minor,
        currency=currency,
        interval=interval,
        trial_days=trial_days,
        course_ids=[str(course_id) for course_id in course_ids],
        at=utc_now(),
    )
    session.add(plan)
    return plan.to_response()


@task
def change_plan(session: Session, *, plan_id: UUID, expected_version: int, changes: dict[str, Any]) -> dict[str, Any]:
    """Change a plan for new subscribers; existing subscribers keep their terms. Raises NotFound, PreconditionFailed."""
    plan = Plan.get(session, plan_id, for_update=True)
    with plan.edit("plan", expected_version):
        for name, value in changes.items():
            setattr(plan, name, value)
    return plan.to_response()


@task
def show_plan(session: Session, *, plan_id: UUID, for_staff: bool) -> dict[str, Any]:
    """Return a plan. Raises NotFound, also if the plan is not on sale and ``for_staff`` is False."""
    return (Plan.get if for_staff else Plan.get_on_sale)(session, plan_id).to_response()


@task
def list_plans(session: Session, *, limit: int, after: UUID | None) -> dict[str, Any]:
    """Return a page of the plans on sale, newest first: {"items", "next"}."""
    found = Plan.list_page(session, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [plan.to_response() for plan in shown], "next": shown[-1].id if len(found) > limit else None}
