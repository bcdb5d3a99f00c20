"""Shape the components of the OpenAPI document so that generated clients get complete and named types."""

from typing import Any

Part = dict[str, Any]

# The name of each enum in the document, by its values. Generated clients get one type for each.
_ENUMS: dict[tuple[str, ...], str] = {
    ("valid", "revoked", "expired"): "CertificateStatus",
    ("sending", "sent"): "AnnouncementStatus",
    ("beginner", "intermediate", "advanced"): "CourseLevel",
    ("relevance", "popular", "newest", "rating", "price", "-price"): "CatalogueOrder",
    ("draft", "published"): "CourseStatus",
    ("draft", "published", "archived"): "OwnCourseStatus",
    ("keep", "move"): "LearnersOnPublication",
    ("cover", "attachment", "captions", "video"): "FileKind",
    ("pending", "ready"): "FileStatus",
    ("attachment", "captions"): "LessonFileRole",
    ("video", "text", "quiz"): "LessonKind",
    ("manual", "viewed", "min_score"): "CompletionRule",
    ("choice", "true_false", "short_text", "numeric"): "QuestionKind",
    ("never", "after_attempt", "after_passing", "after_last_attempt"): "AnswersShown",
    ("open", "submitted", "expired"): "QuizAttemptStatus",
    ("active", "ended"): "EnrollmentStatus",
    ("enroll", "unenroll"): "EnrollmentBatchAction",
    (
        *("pending", "enrolled", "invited", "unenrolled", "invitation_withdrawn", "already_enrolled"),
        *("already_invited", "not_enrolled", "access_purchased", "duplicate", "email_invalid", "end_in_past"),
    ): "EnrollmentResult",
    ("active", "not_started", "expired"): "GrantState",
    ("in_progress", "completed"): "ProgressStatus",
    ("completed", "position"): "OfflineEventKind",
    ("waiting", "handled", "failing", "dead_letter", "discarded", "unknown"): "HandlerState",
    ("previous_lesson", "prerequisite", "not_open"): "LessonLockReason",
    ("learner", "instructor", "admin"): "Role",
    ("change", "read"): "AuditKind",
    ("order", "subscription", "free", "manual"): "AccessKind",
    (
        *("active", "not_started", "expired", "suspended", "disputed", "charged_back", "refunded"),
        *("subscription_ended", "revoked", "revoked_by_staff", "left", "payment_pending", "payment_failed"),
        *("order_expired", "order_canceled", "access_pending"),
    ): "AccessState",
    ("profile", "enrollments", "progress", "unread_count", "subscriptions"): "DashboardPart",
    ("stripe", "yookassa"): "PaymentProvider",
    (
        *("pending", "paid", "partially_refunded", "refunded", "disputed", "charged_back", "expired", "canceled"),
    ): "OrderStatus",
    (
        *("created", "requires_action", "processing", "authorized", "succeeded", "failed", "canceled", "expired"),
        *("unknown", "review", "duplicate"),
    ): "PaymentStatus",
    ("created", "unknown", "pending", "review", "succeeded", "failed"): "RefundStatus",
    ("inquiry", "open", "won", "lost", "review"): "DisputeStatus",
    ("accept", "release", "refund"): "PaymentDecision",
    ("accept", "release"): "ReviewDecision",
    ("percent", "fixed"): "CouponKind",
    ("month", "year"): "BillingInterval",
    ("incomplete", "trialing", "active", "past_due", "canceled", "expired"): "SubscriptionStatus",
    ("capture", "refund", "dispute"): "MoneyMovementKind",
    ("email", "push", "in_app"): "NotificationChannel",
    (
        *("queued", "held", "sending", "sent", "delivered", "bounced", "complained", "failed"),
        *("suppressed", "skipped"),
    ): "NotificationState",
    ("fcm", "web_push"): "DeviceKind",
    ("pending", "delivered", "failed"): "WebhookDeliveryStatus",
    ("manual", "failing", "gone"): "EndpointDisabledReason",
    ("open", "replayed", "discarded"): "DeadLetterStatus",
    ("pending", "running", "succeeded", "failed"): "OperationStatus",
    ("ready", "not_ready"): "ReadinessStatus",
    ("up", "down"): "ServerStatus",
}


def complete_components(spec: Part) -> None:
    """Complete the components of an OpenAPI document in place.

    The fields of a response are required, except those with ``x-optional``, and later versions may add fields. A query
    parameter is never null. Every enum is a named component.
    """
    _describe_responses(spec)
    _declare_headers(spec)
    _forbid_null_parameters(spec)
    _name_enums(spec)
    del spec["components"]["schemas"]["PaginationMetadata"]  # flask-smorest's; pages have cursors instead


def _describe_responses(spec: Part) -> None:
    schemas: Part = spec["components"]["schemas"]
    operations = [
        operation
        for path in spec["paths"].values()
        for operation in path.values()
        if isinstance(operation, dict) and "responses" in operation
    ]
    sent_by_clients = _schemas_below([operation.get("requestBody", {}) for operation in operations], schemas)
    for name, schema in schemas.items():
        fields = schema.get("properties", {})
        for part in fields.values():
            if part.get("default") == "" and "pattern" in part:
                del part["default"]  # clients omit the field, because its pattern does not allow an empty text
        optional = {field for field, part in fields.items() if part.pop("x-optional", False)}
        if fields and name not in sent_by_clients:
            schema["required"] = sorted(fields.keys() - optional)
            schema.pop("additionalProperties", None)


def _schemas_below(part: Any, schemas: Part) -> set[str]:
    """Return the names of the schemas that ``part`` refers to, directly or through other schemas."""
    found: set[str] = set()
    waiting = [part]
    while waiting:
        each = waiting.pop()
        waiting += each if isinstance(each, list) else each.values() if isinstance(each, dict) else []
        name = each.get("$ref", "").rpartition("/")[2] if isinstance(each, dict) else ""
        if name in schemas and name not in found:
            found.add(name)
            waiting.append(schemas[name])
    return found


def _declare_headers(spec: Part) -> None:
    """Declare the ETag of reads and of versioned objects, and the Link of pages, which have a cursor."""
    schemas: Part = spec["components"]["schemas"]
    for path in spec["paths"].values():
        for method in ("get", "post", "put", "patch"):
            for status, response in path.get(method, {}).get("responses", {}).items():
                schema = response.get("content", {}).get("application/json", {}).get("schema", {})
                fields = schemas.get(schema.get("$ref", "").rpartition("/")[2], {}).get("properties", {})
                names = ["Link"] if "next_cursor" in fields else []
                is_versioned = "version" in fields or "IfMatch" in str(path[method].get("parameters"))
                if (method, status) == ("get", "200") or (is_versioned and status in {"200", "201"}):
                    names.append("ETag")
                if names:
                    headers = response.setdefault("headers", {})
                    headers |= {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _forbid_null_parameters(spec: Part) -> None:
    """Remove null from the types of query parameters, which marshmallow allows where the default is None."""
    for path in spec["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()) if isinstance(operation, dict) else ():
                schema = parameter.get("schema", {})
                if isinstance(schema.get("type"), list):
                    schema["type"] = next(each for each in schema["type"] if each != "null")
                if schema.get("default", "") is None:
                    del schema["default"]


def _name_enums(spec: Part) -> None:
    named: Part = {}
    _replace_enums(spec["paths"], named)
    _replace_enums(spec["components"], named)
    spec["components"]["schemas"] |= named


def _replace_enums(part: Any, named: Part) -> None:
    """Replace each enum below ``part`` by a reference to a component, which is added to ``named``."""
    for child in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        if not (isinstance(child, dict) and len(child.get("enum", ())) > 1):
            _replace_enums(child, named)
            continue
        values = tuple(value for value in child.pop("enum") if value is not None)
        name = _ENUMS[values]  # a KeyError here: give the enum a name above
        is_nullable = "null" in child.pop("type")
        named[name] = {"type": "string", "enum": list(values)}
        reference = {"$ref": f"#/components/schemas/{name}"}
        child.update({"anyOf": [reference, {"type": "null"}]} if is_nullable else reference)
