"""Manage bundles of courses. Checkouts sell a bundle like a course."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.db import utc_now
from models.errors import NotFound
from models.payments import Bundle
from workers import task


@task
def create_bundle(session: Session, *, fields: dict[str, Any]) -> dict[str, Any]:
    """Create a bundle. Raises NotFound if one of its courses is not on sale."""
    bundle = Bundle.create(fields, at=utc_now())
    bundle.quote(session)
    session.add(bundle)
    return bundle.to_response()


@task
def show_bundle(session: Session, *, bundle_id: UUID, for_staff: bool) -> dict[str, Any]:
    """Return a bundle. Raises NotFound, also if the bundle is not on sale and ``for_staff`` is False."""
    bundle = Bundle.get(session, bundle_id)
    if not bundle.on_sale and not for_staff:
        raise NotFound("bundle on sale", str(bundle_id))
    return bundle.to_response()


@task
def change_bundle(
    session: Session, *, bundle_id: UUID, expected_version: int, fields: dict[str, Any]
) -> dict[str, Any]:
    """Change a bundle or take it off sale; open checkout sessions keep their price.

    Raises NotFound, PreconditionFailed.
    """
    bundle = Bundle.get(session, bundle_id, for_update=True)
    with bundle.edit("bundle", expected_version):
        for name, value in fields.items():
            setattr(bundle, name, value)
    if bundle.on_sale:
        bundle.quote(session)
    return bundle.to_response()


@task
def list_bundles(session: Session, *, limit: int, after: UUID | None) -> dict[str, Any]:
    """Return a page of the bundles on sale, newest first: {"items", "next"}."""
    found = Bundle.list_page(session, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [bundle.to_response() for bundle in shown], "next": shown[-1].id if len(found) > limit else None}
