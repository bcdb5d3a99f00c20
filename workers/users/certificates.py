"""The name on a certificate: recorded when it is issued, and corrected by an administrator."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.db import utc_now
from models.errors import NotFound
from models.events import CertificateIssued
from models.users import CertificateHolder, User
from workers import task


@task
def record_certificate_holder(session: Session, *, event: CertificateIssued) -> None:
    """Record the learner's name of today for the certificate. An erased user's name is not recorded."""
    try:
        user = User.get_for_update(session, event.user_id)  # a concurrent erasure deletes the name or is seen here
    except NotFound:
        return
    if user.name:
        CertificateHolder.record(session, code=event.code, user_id=user.id, name=user.name, at=utc_now())


@task
def show_certificate_holder(session: Session, *, user_id: UUID, code: str) -> dict[str, Any]:
    """Return the name on a certificate: {"holder"}. It is None for an erased user.

    Until CERTIFICATE_ISSUED is handled it is the name in the profile.
    """
    user = session.get(User, user_id)
    return {"holder": CertificateHolder.find_name(session, code) or (user.name if user else None)}


@task
def correct_certificate_holder(session: Session, *, user_id: UUID, code: str, holder: str) -> dict[str, Any]:
    """Replace the name on a certificate; return {"holder"}. Raises NotFound for an erased user."""
    user = User.get_for_update(session, user_id)
    CertificateHolder.correct(session, code=code, user_id=user.id, name=holder, at=utc_now())
    return {"holder": holder}
