"""Why a person has access to a course, or has none: the grants, orders and subscriptions, joined and explained."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.read_cache import invalidate_pages
from api.rpc import call, call_without_idempotency_key
from api.schemas import Schema, Timestamp, UtcDateTime
from api.users.profiles import require_existing_user, require_user
from core.cache import progress_version_key
from models.commands import EnrollUserAsAdmin, ListCoursePurchases, RevokeAccess, ShowAccess

from .blueprint import blp

KINDS = ["order", "subscription", "free", "manual"]
# What is said about each state: whether it gives access is decided by the courses service.
_EXPLANATIONS = {
    "active": "Gives access.",
    "not_started": "Gives access from `since` on.",
    "expired": "Gave access until `until`.",
    "suspended": "Access is suspended.",
    "disputed": "The buyer disputes the payment at the bank: access is suspended until the bank decides.",
    "charged_back": "The bank returned the money to the buyer.",
    "refunded": "The order was refunded in full.",
    "subscription_ended": "The subscription has ended.",
    "revoked": "Access was revoked.",
    "revoked_by_staff": "Staff revoked the access; the audit log says who.",
    "left": "The learner has left the course, and may join it again if it is free.",
    "payment_pending": "The payment has not succeeded yet; the timeline of the order shows its steps.",
    "payment_failed": "The payment failed; the buyer may pay again while the order is pending.",
    "order_expired": "The order expired before it was paid.",
    "order_canceled": "The order was canceled before it was paid.",
    "access_pending": "Paid, but access was not given yet. If this lasts for minutes, see the dead letters.",
}
STATES = list(_EXPLANATIONS)
_UNPAID_ORDERS = {"expired": "order_expired", "canceled": "order_canceled"}
_REVERSED_ORDERS = {"refunded", "disputed", "charged_back"}
_FAILED_PAYMENTS = {"failed", "expired", "canceled"}


class AccessQuery(Schema):
    course_id = ma.fields.UUID(required=True)


class AccessReasonSchema(Schema):
    kind = ma.fields.Str(
        validate=ma.validate.OneOf(KINDS),
        metadata={"description": "`free`: the learner joined a free course. `manual`: staff gave access."},
    )
    state = ma.fields.Str(validate=ma.validate.OneOf(STATES))
    gives_access = ma.fields.Bool()
    detail = ma.fields.Str(metadata={"description": "Explanation for humans."})
    problem = ma.fields.Str(
        allow_none=True, metadata={"description": "What the provider says about the payment, if it failed."}
    )
    since = Timestamp(allow_none=True)
    until = Timestamp(allow_none=True)
    order_id = ma.fields.UUID(allow_none=True)
    subscription_id = ma.fields.UUID(allow_none=True)
    granted_by = ma.fields.UUID(allow_none=True, metadata={"description": "The member of staff who gave access."})


class UserAccessSchema(Schema):
    user_id = ma.fields.UUID()
    course_id = ma.fields.UUID()
    access = ma.fields.Bool()
    since = Timestamp(allow_none=True, metadata={"description": "The earliest reason that gives access now."})
    until = Timestamp(
        allow_none=True, metadata={"description": "When access ends as things stand; null without an end or access."}
    )
    reasons = ma.fields.List(
        ma.fields.Nested(AccessReasonSchema),
        metadata={"description": "Those that give access first; empty if the person never asked for the course."},
    )


class AccessChangeSchema(Schema):
    course_id = ma.fields.UUID(required=True)


class AccessGrantSchema(AccessChangeSchema):
    ends_at = UtcDateTime(
        load_default=None,
        allow_none=True,
        metadata={"description": "When access ends; without it, or with null, never. It must be in the future."},
    )


@blp.route("/users/<uuid:user_id>/access")
class UserAccess(MethodView):
    @require_auth("courses:admin", reads_personal_data=True)
    @require_existing_user
    @blp.arguments(AccessQuery, location="query")
    @blp.doc(operationId="getUserAccess")
    @blp.response(200, UserAccessSchema)
    def get(self, query: dict[str, Any], user_id: UUID) -> Any:
        """Explain a user's access to a course

        Says whether the user has access, with every reason for it and against it: which order, subscription, free
        enrollment or grant by staff, since when and until when, or why it gives none.
        """
        require_user(user_id)
        access = call(ShowAccess(user_id=user_id, course_id=query["course_id"]))
        return _explained(access, user_id, query["course_id"])

    @require_auth("courses:admin")
    @require_existing_user
    @blp.arguments(AccessGrantSchema)
    @blp.doc(operationId="grantAccess")
    @blp.response(200, UserAccessSchema)
    def post(self, change: dict[str, Any], user_id: UUID) -> Any:
        """Grant access to a course

        At any price, also to a course that is no longer on sale; until `ends_at`, or for good. Idempotent; access that
        was revoked or has expired is given again, and the end replaces the one that the same member of staff has set.
        """
        require_user(user_id)
        call(EnrollUserAsAdmin(user_id=user_id, granted_by=current_caller().id, **change))
        invalidate_pages(progress_version_key(user_id))
        access = call_without_idempotency_key(ShowAccess(user_id=user_id, course_id=change["course_id"]))
        return _explained(access, user_id, change["course_id"])


@blp.route("/users/<uuid:user_id>/access/revoke")
class UserAccessRevocation(MethodView):
    @require_auth("courses:admin")
    @require_existing_user
    @blp.arguments(AccessChangeSchema)
    @blp.doc(operationId="revokeAccess")
    @blp.response(200, UserAccessSchema)
    def post(self, change: dict[str, Any], user_id: UUID) -> Any:
        """Revoke access to a course

        Ends what staff gave and a free enrollment. Access that was bought is not revoked here, but by a refund or by
        canceling the subscription; if nothing else gives access, this is a 409. Idempotent.
        """
        require_user(user_id)
        access = call(RevokeAccess(user_id=user_id, course_id=change["course_id"]))
        return _explained(access, user_id, change["course_id"])


def _explained(access: dict[str, Any], user_id: UUID, course_id: UUID) -> dict[str, Any]:
    """Join the grants in ``access`` with the orders and subscriptions that contain the course."""
    purchases = call_without_idempotency_key(ListCoursePurchases(user_id=user_id, course_id=course_id))
    subscriptions = {each["id"]: each for each in purchases["subscriptions"]}
    reasons = [_grant_reason(grant, subscriptions.get(grant["source_id"])) for grant in access["grants"]]
    granting = {grant["source_id"] for grant in access["grants"]}
    reasons += [_order_reason(order) for order in purchases["orders"] if order["id"] not in granting]
    reasons += [_subscription_reason(each) for each in subscriptions.values() if each["id"] not in granting]
    giving = [reason for reason in reasons if reason["gives_access"]]
    ends = [reason["until"] for reason in giving]
    return {
        "user_id": user_id,
        "course_id": course_id,
        "access": access["access"],
        "since": min((reason["since"] for reason in giving), default=None),
        "until": None if None in ends else max(ends, default=None),
        "reasons": sorted(reasons, key=lambda reason: not reason["gives_access"]),
    }


def _grant_reason(grant: dict[str, Any], subscription: dict[str, Any] | None) -> dict[str, Any]:
    state = grant["state"] if grant["status"] == "active" else grant["reason"] or grant["status"]
    until = grant["ends_at"]
    if subscription and state == "active":
        until = subscription["ends_at"] or (subscription["cancel_at_period_end"] and subscription["period_end"]) or None
    return _reason(
        grant["source"],
        state if state in _EXPLANATIONS else "revoked",
        source_id=grant["source_id"],
        since=grant["starts_at"],
        until=until,
        gives_access=state == "active",
    )


def _order_reason(order: dict[str, Any]) -> dict[str, Any]:
    """Explain an order that has no grant."""
    if order["subscription_id"] or order["status"] in _UNPAID_ORDERS:
        state = _UNPAID_ORDERS.get(order["status"], "payment_pending")
    elif order["status"] == "pending":
        state = "payment_failed" if order["payment_status"] in _FAILED_PAYMENTS else "payment_pending"
    else:
        state = order["status"] if order["status"] in _REVERSED_ORDERS else "access_pending"
    return _reason(
        "order", state, source_id=order["id"], since=order["paid_at"], until=None, problem=order["payment_problem"]
    )


def _subscription_reason(subscription: dict[str, Any]) -> dict[str, Any]:
    """Explain a subscription that has no grant."""
    states = {"incomplete": "payment_pending", "expired": "subscription_ended"}
    return _reason(
        "subscription",
        states.get(subscription["status"], "access_pending"),
        source_id=subscription["id"],
        since=None,
        until=subscription["ended_at"],
        problem=subscription["problem"],
    )


def _reason(
    kind: str,
    state: str,
    *,
    source_id: str,
    since: str | None,
    until: str | None,
    gives_access: bool = False,
    problem: str | None = None,
) -> dict[str, Any]:
    return {
        "kind": kind,
        "state": state,
        "gives_access": gives_access,
        "detail": _EXPLANATIONS[state] + (f" The provider says: {problem}." if problem else ""),
        "problem": problem,
        "since": since,
        "until": until,
        "order_id": source_id if kind == "order" else None,
        "subscription_id": source_id if kind == "subscription" else None,
        "granted_by": source_id if kind == "manual" else None,
    }
