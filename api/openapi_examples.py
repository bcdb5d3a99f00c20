"""Examples for the OpenAPI document. They work against a freshly seeded local catalogue, whose ids are constant.

ops/dev/seed.py creates the objects; tests/e2e/test_openapi_examples.py sends every example.
"""

from typing import Any

# Objects of the seeded catalogue: a free course, its first section and lesson. By path parameter:
COURSE = "f9f088da-72c4-54a6-8f87-5cce24110019"
_SLUG = "statistics-you-will-actually-use"
_SECTION = "d9e32486-03cd-5bf5-8b1c-2a8f949c228d"
_LESSON = "e3cd5286-4741-56a2-aa56-bc4b4648d981"
_PAID_COURSE = "bc522a0c-a488-5628-8ffb-6a36dbcafffe"
PATH_PARAMETERS = {"course_id": COURSE, "ref": _SLUG, "section_id": _SECTION, "lesson_id": _LESSON, "course_version": 1}

_COURSE_FIELDS = {
    "title": "Knots that hold",
    "summary": "Ten knots for a life on the water.",
    "category": "sailing",
    "level": "beginner",
    "language": "en",
    "tags": ["rope"],
    "price": {"amount_minor": 1900, "currency": "EUR"},
}
_LESSON_FIELDS = {
    "section_id": _SECTION,
    "title": "The bowline",
    "kind": "text",
    "content": {"body": "The *king* of knots."},
    "free_preview": True,
    "completion": {"rule": "manual"},
}
_LESSON_DOCUMENT = {name: value for name, value in _LESSON_FIELDS.items() if name != "section_id"}
_OFFLINE = {
    "id": "phone-1",
    "course_id": COURSE,
    "lesson_id": _LESSON,
    "kind": "completed",
    "at": "2026-01-31T09:30:00Z",
}
_WEBHOOK_ENDPOINT = {"url": "https://example.com/coursebus", "event_types": ["COURSE_PURCHASED"]}

# Request bodies by schema name in the OpenAPI document.
BODIES: dict[str, Any] = {
    "CourseFields": _COURSE_FIELDS,
    "Copy": {"title": "Statistics for nurses"},
    "CourseDocument": {
        "format": "coursebus-course/1",
        "course": _COURSE_FIELDS,
        "sections": [{"title": "Knots", "lessons": [_LESSON_DOCUMENT]}],
    },
    "CourseChanges": {"summary": "Means, spreads and doubts, without fear."},
    "Enroll": {},
    "FileFields": {"kind": "cover", "name": "cover.png", "content_type": "image/png", "size_bytes": 20480},
    "JobSlot": {"slot": "2026-01-31T00:00:00Z"},
    "Publication": {"learners": "keep"},
    "AccessChange": {"course_id": _PAID_COURSE},
    "AccessEnd": {"ends_at": "2030-01-31T00:00:00Z"},
    "AccessGrant": {"course_id": _PAID_COURSE, "ends_at": "2030-01-31T00:00:00Z"},
    "EnrollmentBatchFields": {"emails": ["ann@example.com"], "ends_at": "2030-01-31T00:00:00Z"},
    "Answers": {"answers": {"q1": ["b"]}},
    "PreviewAttemptFields": {"seed": 7, "answers": {"q1": ["b"]}},
    "ScheduleFields": {
        "shift_days": -7,
        "lessons": [{"lesson_id": _LESSON, "opens_at": "2026-12-01T09:00:00Z"}],
        "reason": "Exam period",
    },
    "ExtraAttemptsFields": {"user_id": "7f1c2a4e-5b7d-4c0a-9d55-0a3a4a7c1b11", "attempts": 1},
    "Outline": {"sections": [{"id": _SECTION, "lessons": [_LESSON]}]},
    "SectionFields": {"title": "For a stormy day"},
    "LessonFields": _LESSON_FIELDS,
    "LessonChanges": {"title": "What an average hides"},
    "InstructorsFields": {"editor_ids": []},
    "ReplyFields": {"text": "Thank you! The next chapter has more of it."},
    "Moderation": {"reason": "Insults other learners."},
    "ReviewFields": {"rating": 5, "text": "At last I understand what a median is for."},
    "Prerequisites": {"course_ids": [], "sequential": False},
    "CheckoutRequest": {"course_id": _PAID_COURSE, "provider": "stripe"},
    "PlanRequest": {
        "name": "All about data",
        "price": {"amount_minor": 900, "currency": "EUR"},
        "interval": "month",
        "trial_days": 14,
        "course_ids": [COURSE, _PAID_COURSE],
    },
    "BillingDetailsFields": {
        "company": "Lee & Sons",
        "address": "1 Harbour Street\nRotterdam",
        "tax_id": "NL001234567B01",
    },
    "PlanChange": {"trial_days": 30},
    "PlanSubscriptionRequest": {"plan_id": "c23e5904-bdfd-5076-8cbc-27281a56b077", "provider": "stripe"},
    "BundleRequest": {
        "title": "Statistics, and what comes after",
        "price": {"amount_minor": 4900, "currency": "EUR"},
        "course_ids": [COURSE, _PAID_COURSE],
    },
    "BundleChanges": {"price": {"amount_minor": 3900, "currency": "EUR"}},
    "CouponTerms": {"code": "SPRING20", "kind": "percent", "value": 20, "max_per_user": 1},
    "CouponLimits": {"max_redemptions": 500, "ends_at": "2027-06-01T00:00:00Z"},
    "RefundRequest": {"amount_minor": 500, "reason": "The last section is missing."},
    "PaymentResolution": {"action": "accept", "note": "The buyer paid in their own currency."},
    "RefundResolution": {"action": "accept", "note": "The support refunded a part in the dashboard."},
    "DisputeResolution": {"action": "accept", "amount_minor": 4900, "note": "As in the bank's letter."},
    "OfflineBatch": {"events": [_OFFLINE]},
    "PositionFields": {"position_seconds": 95},
    "ProfileChanges": {"name": "Ann Lee", "timezone": "Europe/Berlin"},
    "AnnouncementFields": {
        "subject": "Live session on Friday",
        "body": "We meet at 18:00.\nThe link is in the first lesson.",
    },
    "CertificateCorrection": {"holder": "Ann Lee"},
    "CertificateRevocation": {"reason": "Issued for a test account."},
    "CertificateTemplateFields": {
        "signatory_name": "Ada Lovelace",
        "signatory_title": "Instructor",
        "accent_color": "#274b9f",
        "valid_days": 730,
    },
    "Roles": {"roles": ["learner", "instructor"]},
    "Preferences": {
        "categories": {"reminders": {"email": False}},
        "quiet_hours": {"from": "22:00", "to": "08:00"},
        "digest": "off",
    },
    "NewDevice": {"kind": "fcm", "token": "registration-token"},
    "WebhookEndpointFields": _WEBHOOK_ENDPOINT,
    "WebhookEndpointChanges": {"enabled": True},
    "ReplayRequest": {"since": "2026-01-31T00:00:00Z"},
}


def add_examples(spec: dict[str, Any]) -> None:
    """Add the examples to the path parameters and request bodies of an OpenAPI document."""
    for operations in spec["paths"].values():
        for parameter in operations.get("parameters", []):
            if parameter.get("name") in PATH_PARAMETERS:
                parameter["example"] = PATH_PARAMETERS[parameter["name"]]
        for operation in operations.values():
            if isinstance(operation, dict) and "requestBody" in operation:
                _add_to_body(operation["requestBody"]["content"])


def _add_to_body(content: dict[str, Any]) -> None:
    for media in content.values():
        name = media["schema"].get("$ref", "").rpartition("/")[2]
        if name in BODIES:
            media["example"] = BODIES[name]
