"""Certificate routes: verification, documents, revocation, and the templates of courses."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response, jsonify
from flask.views import MethodView

import settings
from api.auth import current_caller, public, require_auth
from api.blueprints import Blueprint
from api.conditional_requests import if_match, versioned_response
from api.content_negotiation import HTML, JSON, PDF, html_page, media_types, negotiate, preferred_language, varied
from api.courses.blueprint import get_working_copy, require_own_course
from api.pagination import Page, PageQuery, page_response, page_schema
from api.read_cache import cached_page_view
from api.rpc import call, call_without_idempotency_key
from api.schemas import Flag, Line, Prose, Schema, Timestamp
from api.users.profiles import require_existing_user, require_user
from models.commands import (
    CorrectCertificateHolder,
    ListCertificates,
    ReinstateCertificate,
    ReplaceCertificateTemplate,
    RevokeCertificate,
    ShowCertificate,
    ShowCertificateHolder,
    ShowCertificateTemplate,
)
from models.commands.progress import CertificateDesign
from models.errors import CertificateIsRevoked

from .certificate_documents import ACCENT_COLOR, TEXTS, page_context, render_pdf, verification_url
from .learning import own_progress_version_key

blp = Blueprint("certificates", __name__, url_prefix="/v1", description="Certificates of completed courses.")

STATUSES = ["valid", "revoked", "expired"]
_DAYS_MAX = 36500


class CertificateSchema(Schema):
    code = ma.fields.Str()
    course_id = ma.fields.UUID()
    course_title = ma.fields.Str()
    issued_at = Timestamp()
    expires_at = Timestamp(allow_none=True, metadata={"description": "When it expires; null if it has no end."})
    status = ma.fields.Str(validate=ma.validate.OneOf(STATUSES))
    revoked_at = Timestamp(allow_none=True, metadata={"description": "When it was revoked; null if it is not."})


class PublicCertificateSchema(CertificateSchema):
    holder = ma.fields.Str(
        allow_none=True,
        metadata={"description": "The learner's name on the day of issue, or as corrected. Null after an erasure."},
    )
    issuer = ma.fields.Str(metadata={"description": "Who issued it."})
    title = ma.fields.Str(
        allow_none=True, metadata={"description": "Heading of the course's template; null for the one of the language."}
    )
    signatory_name = ma.fields.Str(allow_none=True, metadata={"description": "Who signs it."})
    signatory_title = ma.fields.Str(allow_none=True, metadata={"description": "Position of who signs it."})
    accent_color = ma.fields.Str(metadata={"description": "Colour of its heading and frame."})
    verification_url = ma.fields.Url(
        metadata={"format": "uri", "description": "Short address of the page that shows its status."}
    )


class StaffCertificateSchema(CertificateSchema):
    revocation_cause = ma.fields.Str(
        allow_none=True, metadata={"description": "`staff` or `refund`; null if it is not revoked."}
    )
    revocation_reason = ma.fields.Str(allow_none=True, metadata={"description": "The reason that staff have given."})


class CertificateCorrectionSchema(Schema):
    holder = Line(required=True, metadata={"description": "The name as it must read on the certificate."})


class CertificateRevocationSchema(Schema):
    reason = Prose(
        required=True,
        max_length=500,
        not_blank=True,
        metadata={"description": "For staff: it is kept in the audit log and not shown to the public."},
    )


class CertificateTemplateFieldsSchema(Schema):
    title = Line(
        allow_none=True,
        load_default=None,
        max_length=80,
        metadata={"description": "Heading; null for the one of the language."},
    )
    signatory_name = Line(
        allow_none=True, load_default=None, max_length=80, metadata={"description": "Who signs the certificates."}
    )
    signatory_title = Line(
        allow_none=True, load_default=None, max_length=80, metadata={"description": "Position of who signs them."}
    )
    accent_color = ma.fields.Str(
        allow_none=True,
        load_default=None,
        validate=ma.validate.Regexp(r"#[0-9a-fA-F]{6}\Z", error="A colour such as #0b6e5f."),
        metadata={"description": f"Colour of heading and frame; null for {ACCENT_COLOR}."},
    )
    valid_days = ma.fields.Int(
        strict=True,
        allow_none=True,
        load_default=None,
        validate=ma.validate.Range(min=1, max=_DAYS_MAX),
        metadata={"description": "Days until certificates issued from now on expire; null: they do not expire."},
    )
    revoke_on_refund = Flag(
        allow_none=True,
        load_default=None,
        metadata={
            "description": "Whether a certificate is revoked when access ends by a full refund or a lost dispute; "
            "null: as the shop's setting says."
        },
    )


class CertificateTemplateSchema(CertificateTemplateFieldsSchema):
    version = ma.fields.Int()


@blp.route("/me/certificates")
class Certificates(MethodView):
    @require_auth()
    @cached_page_view(own_progress_version_key)
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listOwnCertificates")
    @blp.response(200, page_schema(CertificateSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List the caller's certificates

        Newest first.
        """
        return page_response(call(ListCertificates(user_id=current_caller().id, **query)))


@blp.route("/users/<uuid:user_id>/certificates")
class UserCertificates(MethodView):
    @require_auth("users:admin", reads_personal_data=True)
    @require_existing_user
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listUserCertificates")
    @blp.response(200, page_schema(StaffCertificateSchema))
    def get(self, query: dict[str, Any], user_id: UUID) -> Page:
        """List a user's certificates

        Newest first, with the reasons of revocations.
        """
        require_user(user_id)
        return page_response(call(ListCertificates(user_id=user_id, **query)))


@blp.route("/certificates/<code>")
class Certificate(MethodView):
    @public
    @blp.doc(operationId="verifyCertificate", **media_types(HTML, PDF))
    @blp.response(200, PublicCertificateSchema)
    @blp.alt_response(409, "Problem409")
    def get(self, code: str) -> Response:
        """Verify a certificate

        Public: the code is sufficient. Returns JSON, or by `Accept` a page or a PDF in English or Russian, by
        `Accept-Language`; 406 for any other media type. A revoked certificate has no PDF (`certificate_revoked`).
        """
        media_type = negotiate(JSON, HTML, PDF)
        certificate = get_certificate(code)
        language = preferred_language(TEXTS)
        if media_type == PDF:
            response = _pdf_response(certificate, language)
        elif media_type == HTML:
            context = page_context(certificate, language)
            response = html_page("certificate.html", certificate=certificate, language=language, **context)
        else:
            response = jsonify(PublicCertificateSchema().dump(certificate))
        return varied(response, TEXTS)

    @require_auth("users:admin")
    @blp.arguments(CertificateCorrectionSchema)
    @blp.doc(operationId="correctCertificate")
    @blp.response(200, PublicCertificateSchema)
    def patch(self, correction: dict[str, Any], code: str) -> Any:
        """Correct the name on a certificate

        A certificate keeps the name of the day it was issued. This replaces it, for example after a typing error in the
        profile or a change of name. The correction is recorded with the caller.
        """
        certificate = _find_certificate(code)
        corrected = CorrectCertificateHolder(
            user_id=UUID(certificate["user_id"]), code=certificate["code"], **correction
        )
        return _complete(certificate | call(corrected))


@blp.route("/certificates/<code>/revoke")
class CertificateRevocation(MethodView):
    @require_auth("users:admin")
    @blp.arguments(CertificateRevocationSchema)
    @blp.doc(operationId="revokeCertificate")
    @blp.response(200, StaffCertificateSchema)
    def post(self, revocation: dict[str, Any], code: str) -> Any:
        """Revoke a certificate

        The public page, the API and the badge then say that it is not valid. Recorded with the caller and the reason.
        No effect if staff have revoked it already.
        """
        return call(RevokeCertificate(code=code.upper(), **revocation))


@blp.route("/certificates/<code>/reinstate")
class CertificateReinstatement(MethodView):
    @require_auth("users:admin")
    @blp.doc(operationId="reinstateCertificate")
    @blp.response(200, StaffCertificateSchema)
    def post(self, code: str) -> Any:
        """Reinstate a certificate

        Undoes a revocation, by staff or by a refund. Recorded with the caller. No effect if it is not revoked.
        """
        return call(ReinstateCertificate(code=code.upper()))


@blp.route("/courses/<uuid:course_id>/certificate-template")
class CertificateTemplate(MethodView):
    @require_auth("courses:write")
    @blp.doc(operationId="getCertificateTemplate")
    @blp.response(200, CertificateTemplateSchema)
    def get(self, course_id: UUID) -> Response:
        """Retrieve the certificate template of a course

        Null fields have the defaults.
        """
        get_working_copy(course_id)
        return versioned_response(call(ShowCertificateTemplate(course_id=course_id)))

    @require_auth("courses:write")
    @require_own_course
    @if_match
    @blp.arguments(CertificateTemplateFieldsSchema)
    @blp.doc(operationId="replaceCertificateTemplate")
    @blp.response(200, CertificateTemplateSchema)
    def put(self, fields: dict[str, Any], course_id: UUID, *, expected_version: int) -> Response:
        """Replace the certificate template of a course

        Heading, signature and colour apply to all certificates of the course at once, `valid_days` to those that are
        issued from now on.
        """
        get_working_copy(course_id)
        replaced = ReplaceCertificateTemplate(
            course_id=course_id, expected_version=expected_version, design=CertificateDesign(**fields)
        )
        return versioned_response(call(replaced))


def get_certificate(code: str) -> dict[str, Any]:
    """Return a certificate with its holder and its design, as the public may see it. Raises NotFound."""
    certificate = _find_certificate(code)
    holder = call_without_idempotency_key(
        ShowCertificateHolder(user_id=UUID(certificate["user_id"]), code=certificate["code"])
    )
    return _complete(certificate | holder)


def _find_certificate(code: str) -> dict[str, Any]:
    certificate: dict[str, Any] = call_without_idempotency_key(ShowCertificate(code=code.upper()))
    return certificate


def _complete(certificate: dict[str, Any]) -> dict[str, Any]:
    design = certificate["design"]
    return {
        **certificate,
        **{name: design[name] for name in ("title", "signatory_name", "signatory_title")},
        "accent_color": design["accent_color"] or ACCENT_COLOR,
        "issuer": settings.CERTIFICATE_ISSUER,
        "verification_url": verification_url(certificate["code"]),
    }


def _pdf_response(certificate: dict[str, Any], language: str) -> Response:
    if certificate["status"] == "revoked":
        raise CertificateIsRevoked(certificate["code"])
    response = Response(render_pdf(certificate, language), content_type=PDF)
    response.headers["Content-Disposition"] = f'inline; filename="certificate-{certificate["code"]}.pdf"'
    return response
