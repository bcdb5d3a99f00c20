"""Manage bundles of courses. Checkouts sell a bundle like a course."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.base import now
from models.errors import NotFound
from models.payments import Bundle
from workers import task


@task
def compose_bundle(session: Session, *, fields: dict[str, Any]) -> dict[str, Any]:
    """Create a bundle. Raises NotFound if one of its courses is not on sale."""
    bundle = Bundle.compose(fields, at=now())
    bundle.goods(session)
    session.add(bundle)
    return bundle.view()


@task
def show_bundle(session: Session, *, bundle_id: UUID, for_staff: bool) -> dict[str, Any]:
    """Return a bundle. Raises NotFound, also if the bundle is not on sale and ``for_staff`` is False."""
    bundle = Bundle.of(session, bundle_id)
    if not bundle.on_sale and not for_staff:
        raise NotFound("bundle on sale", str(bundle_id))
    return bundle.view()


@task
def change_bundle(
    session: Session, *, bundle_id: UUID, expected_version: int, fields: dict[str, Any]
) -> dict[str, Any]:
    """Change a bundle or take it off sale; open checkout sessions keep their price.

    Raises NotFound, PreconditionFailed.
    """
    bundle = Bundle.of(session, bundle_id, lock=True)
    bundle.revise("bundle", expected_version)
    for name, value in fields.items():
        setattr(bundle, name, value)
    if bundle.on_sale:
        bundle.goods(session)
    return bundle.view()


@task
def list_bundles(session: Session, *, limit: int, after: UUID | None) -> dict[str, Any]:
    """Return a page of the bundles on sale, newest first: {"items", "next"}."""
    found = Bundle.page(session, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [bundle.view() for bundle in shown], "next": shown[-1].id if len(found) > limit else None}
