"""A person's orders, subscriptions, enrollments, notifications and devices, for staff. Each read is recorded."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask.views import MethodView

from api.auth import require_auth
from api.courses.enrollments import EnrollmentPage
from api.notifications.admin import DeliveryFilters, NotificationDeliveryPage
from api.notifications.devices import DeviceSchema
from api.pagination import Page, PageQuery, page_response, page_schema
from api.payments.orders import STATUSES as ORDER_STATUSES
from api.payments.orders import OrderPage
from api.payments.subscriptions import STATUSES as SUBSCRIPTION_STATUSES
from api.payments.subscriptions import PlanSubscriptionPage
from api.rpc import call
from api.users.profiles import require_existing_user, require_user
from models.commands import ListDevices, ListEnrollments, ListNotifications, ListOrders, ListSubscriptions

from .blueprint import blp


class UserOrderQuery(PageQuery):
    status = ma.fields.Str(load_default=None, validate=ma.validate.OneOf(ORDER_STATUSES))


class UserSubscriptionQuery(PageQuery):
    status = ma.fields.Str(load_default=None, validate=ma.validate.OneOf(SUBSCRIPTION_STATUSES))


@blp.route("/users/<uuid:user_id>/orders")
class UserOrders(MethodView):
    @require_auth("payments:read", reads_personal_data=True)
    @require_existing_user
    @blp.arguments(UserOrderQuery, location="query")
    @blp.doc(operationId="listUserOrders")
    @blp.response(200, OrderPage)
    def get(self, query: dict[str, Any], user_id: UUID) -> Page:
        """List a user's orders

        Newest first.
        """
        require_user(user_id)
        return page_response(call(ListOrders(user_id=user_id, **query)))


@blp.route("/users/<uuid:user_id>/subscriptions")
class UserSubscriptions(MethodView):
    @require_auth("payments:read", reads_personal_data=True)
    @require_existing_user
    @blp.arguments(UserSubscriptionQuery, location="query")
    @blp.doc(operationId="listUserSubscriptions")
    @blp.response(200, PlanSubscriptionPage)
    def get(self, query: dict[str, Any], user_id: UUID) -> Page:
        """List a user's subscriptions

        Newest first.
        """
        require_user(user_id)
        return page_response(call(ListSubscriptions(user_id=user_id, **query)))


@blp.route("/users/<uuid:user_id>/enrollments")
class UserEnrollments(MethodView):
    @require_auth("courses:admin", reads_personal_data=True)
    @require_existing_user
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listUserEnrollments")
    @blp.response(200, EnrollmentPage)
    def get(self, query: dict[str, Any], user_id: UUID) -> Page:
        """List a user's enrollments

        Newest first, with progress. `GET /v1/users/{user_id}/access` explains each.
        """
        require_user(user_id)
        return page_response(call(ListEnrollments(user_id=user_id, **query)))


@blp.route("/users/<uuid:user_id>/notifications")
class UserNotifications(MethodView):
    @require_auth("notifications:admin", reads_personal_data=True)
    @require_existing_user
    @blp.arguments(DeliveryFilters, location="query")
    @blp.doc(operationId="listUserNotifications")
    @blp.response(200, NotificationDeliveryPage)
    def get(self, query: dict[str, Any], user_id: UUID) -> Page:
        """List a user's notifications

        Newest first, on all channels, with their delivery state.
        """
        require_user(user_id)
        limit, after = query.pop("limit"), query.pop("after")
        return page_response(call(ListNotifications(user_id=user_id, filters=query, limit=limit, after=after)))


@blp.route("/users/<uuid:user_id>/devices")
class UserDevices(MethodView):
    @require_auth("notifications:admin", reads_personal_data=True)
    @require_existing_user
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listUserDevices")
    @blp.response(200, page_schema(DeviceSchema))
    def get(self, query: dict[str, Any], user_id: UUID) -> Page:
        """List a user's devices

        The devices that receive push messages, oldest first.
        """
        require_user(user_id)
        return page_response(call(ListDevices(user_id=user_id, **query)))
