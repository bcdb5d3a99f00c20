"""Bundles, for those who put them together; they are bought like a course."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.base import now
from models.payments import Bundle
from workers import task


@task
def compose_bundle(session: Session, *, fields: dict[str, Any]) -> dict[str, Any]:
    """Put a bundle on sale. Raises NotFound where one of its courses is not."""
    bundle = Bundle.compose(fields, at=now())
    bundle.goods(session)
    session.add(bundle)
    return bundle.view()


@task
def change_bundle(session: Session, *, bundle_id: UUID, fields: dict[str, Any]) -> dict[str, Any]:
    """Change a bundle, or take it off sale; an open page keeps its price. Raises NotFound."""
    bundle = Bundle.of(session, bundle_id, lock=True)
    for name, value in fields.items():
        setattr(bundle, name, value)
    if bundle.on_sale:
        bundle.goods(session)
    return bundle.view()


@task
def list_bundles(session: Session, *, limit: int, after: UUID | None) -> dict[str, Any]:
    """A page of the bundles on sale, newest first: {"items", "next"}."""
    found = Bundle.page(session, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [bundle.view() for bundle in shown], "next": shown[-1].id if len(found) > limit else None}
