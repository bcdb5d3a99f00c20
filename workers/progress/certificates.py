"""Certificates: the template of a course, revocation by staff and after a refund, and verification."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.bus.outbox import record
from core.cache import invalidation_marker, progress_version_key
from core.db import utc_now
from models.commands.progress import CertificateCursor, CertificateDesign
from models.progress import Certificate, CertificateTemplate, CourseProgress
from models.progress.certificates import REFUND, REFUNDED, STAFF
from workers import task
from workers.runtime.dependencies import CacheAfterCommit


@task
def list_certificates(
    session: Session, *, user_id: UUID, after: CertificateCursor | None, limit: int
) -> dict[str, Any]:
    """Return a page of a learner's certificates, the newest first: {"items", "next"}."""
    at = utc_now()
    found = Certificate.list_issued(session, CourseProgress.user_id == user_id, after=after, limit=limit + 1)
    shown = found[:limit]
    following = shown[-1].cursor if len(found) > limit else None
    return {"items": [certificate.to_response(at=at) for certificate in shown], "next": following}


@task
def show_certificate(session: Session, *, code: str) -> dict[str, Any]:
    """Return a certificate with the ``user_id`` of its holder and its ``design``. Raises NotFound."""
    certificate = Certificate.get(session, code)
    return {
        **certificate.to_response(at=utc_now()),
        "user_id": certificate.progress.user_id,
        "design": CertificateTemplate.get(session, certificate.progress.course_id).design(),
    }


@task
def revoke_certificate(
    session: Session, cache_after_commit: CacheAfterCommit, *, code: str, reason: str
) -> dict[str, Any]:
    """Revoke a certificate; return it as ``show_certificate`` does. Idempotent. Raises NotFound."""
    certificate = Certificate.get_for_update(session, code)
    progress = certificate.progress
    record(session, progress, *certificate.revoke(session, cause=STAFF, reason=reason, at=utc_now()))
    cache_after_commit(progress_version_key(progress.user_id), invalidation_marker)
    return show_certificate(session, code=code)


@task
def reinstate_certificate(session: Session, cache_after_commit: CacheAfterCommit, *, code: str) -> dict[str, Any]:
    """Undo the revocation of a certificate, by staff or after a refund; return it. Idempotent. Raises NotFound."""
    certificate = Certificate.get_for_update(session, code)
    progress = certificate.progress
    record(session, progress, *certificate.reinstate(session, at=utc_now()))
    cache_after_commit(progress_version_key(progress.user_id), invalidation_marker)
    return show_certificate(session, code=code)


@task
def show_certificate_template(session: Session, *, course_id: UUID) -> dict[str, Any]:
    """Return the design of the certificates of a course: {"version", "view"}."""
    return _template(CertificateTemplate.get(session, course_id))


@task
def replace_certificate_template(
    session: Session, *, course_id: UUID, expected_version: int, design: CertificateDesign
) -> dict[str, Any]:
    """Store the design of the certificates of a course; return {"version", "view"}. Raises PreconditionFailed."""
    return _template(
        CertificateTemplate.replace(session, course_id, design, expected_version=expected_version, at=utc_now())
    )


def revoke_after_refund(session: Session, progress: CourseProgress) -> None:
    """Revoke the certificate of a learner whose access has ended by a refund, if the course wants that.

    Call it for each ENROLLMENT_ENDED once and in order, and for a certificate that is issued by an older event that
    arrives later; with the row of the progress locked.
    """
    if progress.closed_reason not in REFUNDED or not progress.closed_at or not progress.certificate_code:
        return
    if CertificateTemplate.get(session, progress.course_id).revokes_on_refund():
        certificate = Certificate.get(session, progress.certificate_code)
        reason, at = progress.closed_reason, progress.closed_at
        revoked = certificate.revoke(session, cause=REFUND, reason=reason, at=at)
        record(session, certificate.progress, *revoked)


def reinstate_after_refund(session: Session, progress: CourseProgress) -> None:
    """Reinstate a certificate that a refund has revoked: the learner has access again.

    Call it for each ENROLLMENT_CREATED once and in order, with the row of the progress locked.
    """
    if not progress.certificate_code:
        return
    certificate = Certificate.get(session, progress.certificate_code)
    if certificate.revocation and certificate.revocation.cause == REFUND:
        record(session, certificate.progress, *certificate.reinstate(session, at=utc_now()))


def _template(template: CertificateTemplate) -> dict[str, Any]:
    design = template.design()
    names = design.__struct_fields__
    return {
        "version": template.version,
        "view": {**{name: getattr(design, name) for name in names}, "version": template.version},
    }
