"""A method for each operation of the API. Generated: make client."""

from typing import TypeVar

from . import models
from ._pages import AsyncPages, Pages
from ._requests import Id, Request, Versioned, key_header, path, version_header

T = TypeVar("T")


class Operations:
    """The operations of the synchronous client."""

    def _send(self, request: Request[T]) -> T:
        raise NotImplementedError

    def add_extra_quiz_attempts(
        self, course_id: Id, lesson_id: Id, body: models.ExtraAttemptsFields, *, idempotency_key: str | None = None
    ) -> models.ExtraAttempts:
        """Give a learner extra attempts at a quiz.

        Beyond its limit; each request adds to the earlier ones.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/courses/{}/lessons/{}/extra-attempts", course_id, lesson_id),
                models.ExtraAttempts,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def archive_course(self, ref: Id, *, if_match: int | Versioned) -> None:
        """Archive a course.

        The course is taken off sale and hidden. Enrolled learners keep their access. Refused with
        `prerequisite_of_courses` as long as courses on sale require it. For its owner.
        """
        self._send(Request("DELETE", path("/v1/courses/{}", ref), None, headers=version_header(if_match)))

    def archive_notification(self, notification_id: Id, *, idempotency_key: str | None = None) -> models.Notification:
        """Archive a notification.

        Idempotent.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/me/notifications/{}/archive", notification_id),
                models.Notification,
                headers=key_header(idempotency_key),
            )
        )

    def cancel_operation(self, operation_id: Id, *, idempotency_key: str | None = None) -> models.Operation:
        """Cancel an operation.

        Only before it has started. It then has the status `failed` and the error code `operation_canceled`.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/operations/{}/cancel", operation_id),
                models.Operation,
                headers=key_header(idempotency_key),
            )
        )

    def cancel_order(self, order_id: Id, *, idempotency_key: str | None = None) -> models.Order:
        """Cancel an order.

        The order must be unpaid. Also closes its checkout session.
        """
        return self._send(
            Request("POST", path("/v1/orders/{}/cancel", order_id), models.Order, headers=key_header(idempotency_key))
        )

    def cancel_subscription(
        self, subscription_id: Id, *, idempotency_key: str | None = None
    ) -> models.PlanSubscription:
        """Cancel a subscription.

        Cancels at the end of the current period; access continues until then.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/subscriptions/{}/cancel", subscription_id),
                models.PlanSubscription,
                headers=key_header(idempotency_key),
            )
        )

    def change_access_end(
        self, course_id: Id, user_id: Id, body: models.AccessEnd, *, if_match: int | Versioned
    ) -> models.CourseLearner:
        """Change when the access of a learner ends.

        For the owner of the course and staff. Replaces the end of every reason that has one, also of access
        that has expired: the learner then continues where they stopped. What was sold cannot end earlier.
        Access without an end is not changed (`access_has_no_end`).
        """
        return self._send(
            Request(
                "PATCH",
                path("/v1/courses/{}/learners/{}", course_id, user_id),
                models.CourseLearner,
                body=body,
                headers=version_header(if_match),
            )
        )

    def complete_lesson(self, course_id: Id, lesson_id: Id) -> models.CourseProgress:
        """Complete a lesson.

        Idempotent.
        """
        return self._send(
            Request("PUT", path("/v1/courses/{}/lessons/{}/completion", course_id, lesson_id), models.CourseProgress)
        )

    def complete_upload(self, course_id: Id, file_id: Id, *, idempotency_key: str | None = None) -> models.File:
        """Complete an upload.

        Checks size and type of the contents in the store. A file whose contents are not what was declared
        is deleted and refused with `file_rejected`.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/courses/{}/files/{}/complete", course_id, file_id),
                models.File,
                headers=key_header(idempotency_key),
            )
        )

    def correct_certificate(self, code: Id, body: models.CertificateCorrection) -> models.PublicCertificate:
        """Correct the name on a certificate.

        A certificate keeps the name of the day it was issued. This replaces it, for example after a typing
        error in the profile or a change of name. The correction is recorded with the caller.
        """
        return self._send(Request("PATCH", path("/v1/certificates/{}", code), models.PublicCertificate, body=body))

    def count_unread_notifications(self) -> models.UnreadCount:
        """Count unread notifications.

        For the badge of a bell. Archived notifications do not count.
        """
        return self._send(Request("GET", path("/v1/me/notifications/unread-count"), models.UnreadCount))

    def create_announcement(
        self, course_id: Id, body: models.AnnouncementFields, *, idempotency_key: str | None = None
    ) -> models.Announcement:
        """Send an announcement to the learners of a course.

        To everyone who has access now, as their preferences allow (category `announcements`). It is sent in
        the background: `recipients_done` shows the progress. A few a day for each course
        (`announcement_limit_reached`).
        """
        return self._send(
            Request(
                "POST",
                path("/v1/courses/{}/announcements", course_id),
                models.Announcement,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def create_bundle(self, body: models.BundleRequest, *, idempotency_key: str | None = None) -> models.Bundle:
        """Create a bundle.

        A bundle sells several courses at one price.
        """
        return self._send(
            Request("POST", path("/v1/bundles"), models.Bundle, body=body, headers=key_header(idempotency_key))
        )

    def create_checkout(self, body: models.CheckoutRequest, *, idempotency_key: str | None = None) -> models.Checkout:
        """Create a checkout session.

        Returns the open session for the same purchase if there is one. An order with a total of zero, for
        example after a coupon, is fulfilled at once.
        """
        return self._send(
            Request("POST", path("/v1/checkouts"), models.Checkout, body=body, headers=key_header(idempotency_key))
        )

    def create_coupon(self, body: models.CouponTerms, *, idempotency_key: str | None = None) -> models.Coupon:
        """Create a coupon.

        Coupon codes are not case-sensitive.
        """
        return self._send(
            Request("POST", path("/v1/coupons"), models.Coupon, body=body, headers=key_header(idempotency_key))
        )

    def create_course(self, body: models.CourseFields, *, idempotency_key: str | None = None) -> models.Course:
        """Create a course.

        The course is a draft that only its author sees until it is published. Without `slug` a free one is
        made of the title; a given one that another course has, or had, is refused with `slug_taken`.
        """
        return self._send(
            Request("POST", path("/v1/courses"), models.Course, body=body, headers=key_header(idempotency_key))
        )

    def create_course_version(
        self,
        ref: Id,
        body: models.Publication | None = None,
        *,
        if_match: int | Versioned | None = None,
        idempotency_key: str | None = None,
    ) -> models.Course:
        """Create a version.

        Publishes the working copy, like `POST /v1/courses/{ref}/publish`.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/courses/{}/versions", ref),
                models.Course,
                body=body,
                headers=version_header(if_match) | key_header(idempotency_key),
            )
        )

    def create_enrollment(
        self, course_id: Id, body: models.Enroll | None = None, *, idempotency_key: str | None = None
    ) -> models.Enrollment:
        """Create an enrollment.

        Enrolls the caller in a free course. With `courses:admin`, enrolls another user in any course.
        Idempotent.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/courses/{}/enrollments", course_id),
                models.Enrollment,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def create_enrollment_batch(
        self, course_id: Id, body: models.EnrollmentBatchFields, *, idempotency_key: str | None = None
    ) -> models.Operation:
        """Enroll or unenroll people by their addresses.

        In a free course; staff with `courses:admin` also in others. Each row has a result of its own. An
        address that no user has verified is invited: access begins when a user verifies it. Access that was
        bought is not ended. The batch has the UUID of the operation and shows the progress; when all rows
        have a result, it is the result of the operation.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/courses/{}/enrollment-batches", course_id),
                models.Operation,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def create_lesson(
        self, course_id: Id, body: models.LessonFields, *, idempotency_key: str | None = None
    ) -> models.Lesson:
        """Create a lesson.

        The lesson is appended to its section.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/courses/{}/lessons", course_id),
                models.Lesson,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def create_plan(self, body: models.PlanRequest, *, idempotency_key: str | None = None) -> models.Plan:
        """Create a plan.

        A plan gives access to its courses for a monthly or yearly price.
        """
        return self._send(
            Request("POST", path("/v1/plans"), models.Plan, body=body, headers=key_header(idempotency_key))
        )

    def create_refund(
        self, order_id: Id, body: models.RefundRequest, *, idempotency_key: str | None = None
    ) -> models.Refund:
        """Create a refund.

        Refunds an order fully or in part. Access ends when the full amount is refunded; a subscription ends
        with its current period.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/orders/{}/refunds", order_id),
                models.Refund,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def create_section(
        self, course_id: Id, body: models.SectionFields, *, idempotency_key: str | None = None
    ) -> models.Section:
        """Create a section.

        The section is appended to the outline.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/courses/{}/sections", course_id),
                models.Section,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def create_stream_ticket(self) -> models.StreamTicket:
        """Create a ticket for the stream.

        For a browser, whose EventSource sends no headers. A ticket opens one stream within 30 seconds. When
        the stream has ended, create a new ticket and open it with `last_event_id`.
        """
        return self._send(Request("POST", path("/v1/me/notifications/stream-ticket"), models.StreamTicket))

    def create_subscription(
        self, body: models.PlanSubscriptionRequest, *, idempotency_key: str | None = None
    ) -> models.PlanSubscription:
        """Create a subscription.

        Charges the caller's saved payment method or starts a trial. With neither, create a checkout session
        with `plan_id` instead.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/subscriptions"),
                models.PlanSubscription,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def create_webhook_endpoint(self, body: models.WebhookEndpointFields) -> models.WebhookEndpointWithSecret:
        """Create a webhook endpoint.

        Events are sent to its URL. The signing secret is only returned here.
        """
        return self._send(Request("POST", path("/v1/webhook-endpoints"), models.WebhookEndpointWithSecret, body=body))

    def delete_device(self, device_id: Id) -> None:
        """Delete a device.

        Stops push messages to it.
        """
        self._send(Request("DELETE", path("/v1/me/devices/{}", device_id), None))

    def delete_lesson(self, course_id: Id, lesson_id: Id, *, if_match: int | Versioned) -> None:
        """Delete a lesson.

        `If-Match` takes the ETag of the course.
        """
        self._send(
            Request(
                "DELETE",
                path("/v1/courses/{}/lessons/{}", course_id, lesson_id),
                None,
                headers=version_header(if_match),
            )
        )

    def delete_own_review(self, course_id: Id) -> None:
        """Delete the caller's review of a course.

        With its reply. The rating of the course no longer counts it.
        """
        self._send(Request("DELETE", path("/v1/me/courses/{}/review", course_id), None))

    def delete_review_reply(self, course_id: Id, review_id: Id) -> None:
        """Delete the reply to a review.

        No effect without a reply.
        """
        self._send(Request("DELETE", path("/v1/courses/{}/reviews/{}/reply", course_id, review_id), None))

    def delete_section(self, course_id: Id, section_id: Id, *, if_match: int | Versioned) -> None:
        """Delete a section.

        The section must be empty. `If-Match` takes the ETag of the course.
        """
        self._send(
            Request(
                "DELETE",
                path("/v1/courses/{}/sections/{}", course_id, section_id),
                None,
                headers=version_header(if_match),
            )
        )

    def delete_webhook_endpoint(self, endpoint_id: Id) -> None:
        """Delete a webhook endpoint.

        Also deletes its deliveries.
        """
        self._send(Request("DELETE", path("/v1/webhook-endpoints/{}", endpoint_id), None))

    def duplicate_course(
        self, ref: Id, body: models.Copy | None = None, *, idempotency_key: str | None = None
    ) -> models.Course:
        """Duplicate a course.

        Copies the working copy with all lessons to a new draft of the caller. Sections and lessons get new
        ids. Learners, reviews and versions are not copied.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/courses/{}/copies", ref),
                models.Course,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def erase_account(self, *, if_match: int | Versioned) -> models.Operation:
        """Erase the caller's account.

        Erases personal data in every service. The result of the operation is the receipt, which lists data
        retained by law and the reasons. The token stays valid for reading it.
        """
        return self._send(Request("DELETE", path("/v1/me"), models.Operation, headers=version_header(if_match)))

    def erase_user(self, user_id: Id, *, if_match: int | Versioned) -> models.Operation:
        """Erase a user.

        Erases personal data in every service. The result of the operation is the receipt.
        """
        return self._send(
            Request("DELETE", path("/v1/users/{}", user_id), models.Operation, headers=version_header(if_match))
        )

    def export_course(self, ref: Id) -> models.CourseDocument:
        """Export a course.

        Returns the working copy as a document, with the contents of all lessons and the answers of quizzes.
        `POST /v1/course-imports` creates an equal course from it, here or in another installation.
        """
        return self._send(Request("GET", path("/v1/courses/{}/export", ref), models.CourseDocument))

    def get_announcement(self, course_id: Id, announcement_id: Id) -> models.Announcement:
        """Retrieve an announcement.

        With its progress.
        """
        return self._send(
            Request("GET", path("/v1/courses/{}/announcements/{}", course_id, announcement_id), models.Announcement)
        )

    def get_billing_details(self) -> models.BillingDetails:
        """Retrieve the caller's billing details.

        What invoices name beside the profile's name. Null until they are given.
        """
        return self._send(Request("GET", path("/v1/me/billing-details"), models.BillingDetails))

    def get_bundle(self, bundle_id: Id) -> models.Bundle:
        """Retrieve a bundle.

        Bundles that are not on sale are visible to callers with `payments:admin` only.
        """
        return self._send(Request("GET", path("/v1/bundles/{}", bundle_id), models.Bundle))

    def get_certificate_template(self, course_id: Id) -> models.CertificateTemplate:
        """Retrieve the certificate template of a course.

        Null fields have the defaults.
        """
        return self._send(
            Request("GET", path("/v1/courses/{}/certificate-template", course_id), models.CertificateTemplate)
        )

    def get_coupon(self, coupon_id: Id) -> models.Coupon:
        """Retrieve a coupon.

        With the number of its redemptions.
        """
        return self._send(Request("GET", path("/v1/coupons/{}", coupon_id), models.Coupon))

    def get_course(self, ref: Id) -> models.Course:
        """Retrieve a course.

        `ref` is the id, the slug, or a former slug; `slug` of the response is the present one. Returns the
        published version with its outline; authors get the working copy.
        """
        return self._send(Request("GET", path("/v1/courses/{}", ref), models.Course))

    def get_course_learner(self, course_id: Id, user_id: Id) -> models.CourseLearner:
        """Retrieve a learner of a course.

        With the reasons of the access and when each ends.
        """
        return self._send(Request("GET", path("/v1/courses/{}/learners/{}", course_id, user_id), models.CourseLearner))

    def get_course_progress(self, course_id: Id) -> models.CourseProgress:
        """Retrieve the caller's progress in a course.

        The shares of completed lessons, and the lesson to continue with.
        """
        return self._send(Request("GET", path("/v1/courses/{}/progress", course_id), models.CourseProgress))

    def get_course_statistics(
        self, course_id: Id, *, since: str | None = None, until: str | None = None
    ) -> models.CourseStatistics:
        """Retrieve the statistics of a course.

        Enrollments, active learners, completions, ratings and revenue by day; in total also the completion
        of each lesson and its quiz. For the author and, with `courses:admin`, of any course. Some seconds
        behind. `Accept: text/csv` returns the days as CSV.
        """
        return self._send(
            Request(
                "GET",
                path("/v1/courses/{}/statistics", course_id),
                models.CourseStatistics,
                query={"since": since, "until": until},
            )
        )

    def get_dashboard(self) -> models.Dashboard:
        """Retrieve the dashboard.

        Returns the caller's profile, latest courses with progress, unread notification count and
        subscriptions.
        """
        return self._send(Request("GET", path("/v1/me/dashboard"), models.Dashboard))

    def get_data_export(self) -> models.Export:
        """Retrieve the latest data export.

        What each service stores about the caller. 404 until the first one is finished.
        """
        return self._send(Request("GET", path("/v1/me/export"), models.Export))

    def get_enrollment_batch(self, course_id: Id, batch_id: Id) -> models.EnrollmentBatch:
        """Retrieve an enrollment batch.

        With its progress.
        """
        return self._send(
            Request("GET", path("/v1/courses/{}/enrollment-batches/{}", course_id, batch_id), models.EnrollmentBatch)
        )

    def get_instructor(self, user_id: Id) -> models.Instructor:
        """Retrieve the public profile of an instructor.

        Of users with the role `instructor` or `admin`. `GET /v1/courses?instructor_id=` lists their courses
        on sale.
        """
        return self._send(Request("GET", path("/v1/instructors/{}", user_id), models.Instructor))

    def get_instructors(self, course_id: Id) -> models.Instructors:
        """Retrieve the instructors of a course.

        The ETag is that of the course. `GET /v1/instructors/{user_id}` has their names.
        """
        return self._send(Request("GET", path("/v1/courses/{}/instructors", course_id), models.Instructors))

    def get_invoice(self, order_id: Id) -> models.Invoice:
        """Retrieve the invoice of an order.

        The order must be paid. Returns JSON, or by `Accept` a page or a PDF in English or Russian, by
        `Accept-Language`. Seller, tax and the buyer's billing details are those of the day of issue. With
        `payments:read`, any user's order.
        """
        return self._send(Request("GET", path("/v1/orders/{}/invoice", order_id), models.Invoice))

    def get_learner_schedule(self, course_id: Id, user_id: Id) -> models.Schedule:
        """Retrieve the schedule of a learner.

        For the instructors of the course and, with `courses:admin`, of any course.
        """
        return self._send(
            Request("GET", path("/v1/courses/{}/learners/{}/schedule", course_id, user_id), models.Schedule)
        )

    def get_lesson(self, course_id: Id, lesson_id: Id) -> models.Lesson:
        """Retrieve a lesson.

        Returns the lesson with its content, and links to its files, which end: load the lesson again for
        new ones. Requires access to the course, unless the lesson is a free preview.
        """
        return self._send(Request("GET", path("/v1/courses/{}/lessons/{}", course_id, lesson_id), models.Lesson))

    def get_notification_preferences(self) -> models.VersionedPreferences:
        """Retrieve notification preferences.

        All channels of all categories; what the user has not chosen is on.
        """
        return self._send(Request("GET", path("/v1/me/notification-preferences"), models.VersionedPreferences))

    def get_operation(self, operation_id: Id) -> models.Operation:
        """Retrieve an operation.

        Its status and, when it has ended, the response of its command or the problem. Visible to its owner
        only.
        """
        return self._send(Request("GET", path("/v1/operations/{}", operation_id), models.Operation))

    def get_order(self, order_id: Id) -> models.Order:
        """Retrieve an order.

        With `payments:read`, any user's order.
        """
        return self._send(Request("GET", path("/v1/orders/{}", order_id), models.Order))

    def get_outline(self, course_id: Id) -> models.Course:
        """Retrieve the course outline.

        The working copy with all sections and lessons, also before the course is published.
        """
        return self._send(Request("GET", path("/v1/courses/{}/outline", course_id), models.Course))

    def get_own_access(self, course_id: Id) -> models.Access:
        """Check the caller's access to a course.

        Returns whether the caller has access, and the grants that it rests on.
        """
        return self._send(Request("GET", path("/v1/me/courses/{}/access", course_id), models.Access))

    def get_own_course(self, course_id: Id) -> models.LearnerCourse:
        """Retrieve a course that the caller is enrolled in.

        The learner's page in one response: the outline of their version, the state of each lesson,
        progress, certificate and access. Available as long as the caller has access, on sale or not.
        """
        return self._send(Request("GET", path("/v1/me/courses/{}", course_id), models.LearnerCourse))

    def get_own_quiz(self, course_id: Id, lesson_id: Id) -> models.QuizState:
        """Retrieve the caller's state in a quiz.

        Its rules, the attempts that are left, the open attempt and the best score.
        """
        return self._send(
            Request("GET", path("/v1/courses/{}/lessons/{}/quiz", course_id, lesson_id), models.QuizState)
        )

    def get_own_quiz_attempt(self, course_id: Id, lesson_id: Id, attempt: int) -> models.QuizAttemptDetails:
        """Retrieve one of the caller's quiz attempts.

        With the questions as the learner saw them; with points, correct answers and explanations of each
        question once the settings of the quiz allow it.
        """
        return self._send(
            Request(
                "GET",
                path("/v1/courses/{}/lessons/{}/attempts/{}", course_id, lesson_id, attempt),
                models.QuizAttemptDetails,
            )
        )

    def get_own_review(self, course_id: Id) -> models.Review:
        """Retrieve the caller's review of a course.

        Also if staff have hidden it.
        """
        return self._send(Request("GET", path("/v1/me/courses/{}/review", course_id), models.Review))

    def get_payment(self, payment_id: Id) -> models.PaymentDetails:
        """Retrieve a payment.

        Returns the payment with its resolutions.
        """
        return self._send(Request("GET", path("/v1/payments/{}", payment_id), models.PaymentDetails))

    def get_plan(self, plan_id: Id) -> models.Plan:
        """Retrieve a plan.

        Plans that are not on sale are visible to callers with `payments:admin` only.
        """
        return self._send(Request("GET", path("/v1/plans/{}", plan_id), models.Plan))

    def get_position(self, course_id: Id, lesson_id: Id) -> models.Position:
        """Retrieve the playback position in a lesson.

        As stored by any device of the caller; 0 if none has been stored.
        """
        return self._send(
            Request("GET", path("/v1/courses/{}/lessons/{}/position", course_id, lesson_id), models.Position)
        )

    def get_prerequisites(self, course_id: Id) -> models.CoursePrerequisites:
        """Retrieve the prerequisites of a course.

        Of the working copy. The ETag is that of the course.
        """
        return self._send(Request("GET", path("/v1/courses/{}/prerequisites", course_id), models.CoursePrerequisites))

    def get_profile(self) -> models.OwnProfile:
        """Retrieve the caller's profile.

        Until the profile is created, it is built from the claims of the token. `roles` and `permissions`
        are those of the token.
        """
        return self._send(Request("GET", path("/v1/me"), models.OwnProfile))

    def get_request_trace(self, request_id: Id) -> models.RequestTrace:
        """Retrieve the trace of a request.

        The events that the request with this `X-Request-Id` has caused, directly or through other events:
        when each was recorded and published, and what each of its handlers has done.
        """
        return self._send(Request("GET", path("/v1/request-traces/{}", request_id), models.RequestTrace))

    def get_roles(self, user_id: Id) -> models.UserRoles:
        """Retrieve a user's roles.

        The ETag is that of the user, for `If-Match` of the change.
        """
        return self._send(Request("GET", path("/v1/users/{}/roles", user_id), models.UserRoles))

    def get_section(self, course_id: Id, section_id: Id) -> models.Section:
        """Retrieve a section.

        Of the working copy. The ETag is that of the course.
        """
        return self._send(Request("GET", path("/v1/courses/{}/sections/{}", course_id, section_id), models.Section))

    def get_shop_statistics(self, *, since: str | None = None, until: str | None = None) -> models.ShopStatistics:
        """Retrieve the statistics of the shop.

        Payments, refunds, enrollments and completions of all courses by day. Some seconds behind. The
        ledger (`GET /v1/ledger/entries`) also has fees and disputes. `Accept: text/csv` returns the days as
        CSV.
        """
        return self._send(
            Request("GET", path("/v1/statistics"), models.ShopStatistics, query={"since": since, "until": until})
        )

    def get_status(self) -> models.Status:
        """Retrieve the status of all services.

        What waits in the queues and outboxes, what has failed, and the clocks. A worker answers from its
        queue, so one that is behind shows as not responding.
        """
        return self._send(Request("GET", path("/v1/status"), models.Status))

    def get_streak(self) -> models.Streak:
        """Retrieve the caller's streak.

        Consecutive days with a completed lesson, in the caller's time zone.
        """
        return self._send(Request("GET", path("/v1/me/streak"), models.Streak))

    def get_subscription(self, subscription_id: Id) -> models.PlanSubscription:
        """Retrieve a subscription.

        Only the caller's own.
        """
        return self._send(Request("GET", path("/v1/subscriptions/{}", subscription_id), models.PlanSubscription))

    def get_user(self, user_id: Id) -> models.Profile:
        """Retrieve a user.

        The read is recorded in the audit.
        """
        return self._send(Request("GET", path("/v1/users/{}", user_id), models.Profile))

    def get_user_access(self, user_id: Id, *, course_id: Id | None = None) -> models.UserAccess:
        """Explain a user's access to a course.

        Says whether the user has access, with every reason for it and against it: which order,
        subscription, free enrollment or grant by staff, since when and until when, or why it gives none.
        """
        return self._send(
            Request("GET", path("/v1/users/{}/access", user_id), models.UserAccess, query={"course_id": course_id})
        )

    def get_webhook_endpoint(self, endpoint_id: Id) -> models.WebhookEndpoint:
        """Retrieve a webhook endpoint.

        Without its secret, which only its creation and a rotation return.
        """
        return self._send(Request("GET", path("/v1/webhook-endpoints/{}", endpoint_id), models.WebhookEndpoint))

    def grant_access(
        self, user_id: Id, body: models.AccessGrant, *, idempotency_key: str | None = None
    ) -> models.UserAccess:
        """Grant access to a course.

        At any price, also to a course that is no longer on sale; until `ends_at`, or for good. Idempotent;
        access that was revoked or has expired is given again, and the end replaces the one that the same
        member of staff has set.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/users/{}/access", user_id),
                models.UserAccess,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def hide_review(
        self, course_id: Id, review_id: Id, body: models.Moderation, *, idempotency_key: str | None = None
    ) -> models.Review:
        """Hide a review.

        It is no longer listed, and the rating of the course no longer counts it. It stays hidden if the
        learner changes it. Idempotent.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/courses/{}/reviews/{}/hide", course_id, review_id),
                models.Review,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def import_course(self, body: models.CourseDocument, *, idempotency_key: str | None = None) -> models.Course:
        """Import a course.

        Creates a draft of the caller from the document of an export, with new ids. A document with errors
        is refused as a whole: each error has a pointer to its place.
        """
        return self._send(
            Request("POST", path("/v1/course-imports"), models.Course, body=body, headers=key_header(idempotency_key))
        )

    def leave_course(self, course_id: Id, *, idempotency_key: str | None = None) -> None:
        """Leave a course.

        Ends access that was not bought. Progress and certificates stay, and a free course can be joined
        again. What was bought is a 409 `access_purchased`. Idempotent.
        """
        self._send(
            Request("POST", path("/v1/me/courses/{}/leave", course_id), None, headers=key_header(idempotency_key))
        )

    def list_announcements(self, course_id: Id, *, limit: int | None = None) -> Pages[models.Announcement]:
        """List the announcements of a course.

        Newest first.
        """
        return Pages(
            self._send,
            Request(
                "GET", path("/v1/courses/{}/announcements", course_id), models.AnnouncementPage, query={"limit": limit}
            ),
        )

    def list_audit_entries(
        self,
        *,
        limit: int | None = None,
        actor: str | None = None,
        subject_id: Id | None = None,
        kind: models.AuditKind | None = None,
        command: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> Pages[models.AuditEntry]:
        """List the audit log.

        Every command that staff or a machine client executed successfully, with the changed values, and
        every read of another person's personal data by staff. Newest first. The entries are kept for good
        and no service can change them.
        """
        return Pages(
            self._send,
            Request(
                "GET",
                path("/v1/audit"),
                models.AuditEntryPage,
                query={
                    "limit": limit,
                    "actor": actor,
                    "subject_id": subject_id,
                    "kind": kind,
                    "command": command,
                    "since": since,
                    "until": until,
                },
            ),
        )

    def list_bundles(self, *, limit: int | None = None) -> Pages[models.Bundle]:
        """List bundles on sale.

        Newest first.
        """
        return Pages(self._send, Request("GET", path("/v1/bundles"), models.BundlePage, query={"limit": limit}))

    def list_coupons(self, *, limit: int | None = None) -> Pages[models.Coupon]:
        """List coupons.

        Newest first.
        """
        return Pages(self._send, Request("GET", path("/v1/coupons"), models.CouponPage, query={"limit": limit}))

    def list_course_learners(
        self,
        course_id: Id,
        *,
        limit: int | None = None,
        status: models.EnrollmentStatus | None = None,
        progress_min: int | None = None,
        progress_max: int | None = None,
    ) -> Pages[models.Learner]:
        """List the learners of a course.

        Latest enrollment first, with progress. For the author of the course and, with `courses:admin`, of
        any course.
        """
        return Pages(
            self._send,
            Request(
                "GET",
                path("/v1/courses/{}/learners", course_id),
                models.LearnerPage,
                query={"limit": limit, "status": status, "progress_min": progress_min, "progress_max": progress_max},
            ),
        )

    def list_course_versions(self, ref: Id, *, limit: int | None = None) -> Pages[models.CourseVersion]:
        """List published versions of a course.

        Newest first.
        """
        return Pages(
            self._send,
            Request("GET", path("/v1/courses/{}/versions", ref), models.CourseVersionPage, query={"limit": limit}),
        )

    def list_courses(
        self,
        *,
        limit: int | None = None,
        q: str | None = None,
        category: str | None = None,
        level: models.CourseLevel | None = None,
        language: str | None = None,
        tag: str | None = None,
        instructor_id: Id | None = None,
        free: bool | None = None,
        currency: str | None = None,
        price_min: int | None = None,
        price_max: int | None = None,
        sort: models.CatalogueOrder | None = None,
        facets: bool | None = None,
        total: bool | None = None,
    ) -> Pages[models.CourseItem]:
        """List or search courses on sale.

        With `q`, searches titles, tags and summaries, and with less weight descriptions and the titles of
        sections and lessons; if nothing matches, similar spellings are tried. Prices are sorted within each
        currency. `sort=rating` weighs the average by the number of ratings, as if each rated course had ten
        more of 3.5.
        """
        return Pages(
            self._send,
            Request(
                "GET",
                path("/v1/courses"),
                models.CoursesPage,
                query={
                    "limit": limit,
                    "q": q,
                    "category": category,
                    "level": level,
                    "language": language,
                    "tag": tag,
                    "instructor_id": instructor_id,
                    "free": free,
                    "currency": currency,
                    "price_min": price_min,
                    "price_max": price_max,
                    "sort": sort,
                    "facets": facets,
                    "total": total,
                },
            ),
        )

    def list_dead_letters(
        self, *, limit: int | None = None, status: models.DeadLetterStatus | None = None
    ) -> Pages[models.DeadLetter]:
        """List dead letters.

        Ordered by service, then oldest first.
        """
        return Pages(
            self._send,
            Request("GET", path("/v1/dead-letters"), models.DeadLetterPage, query={"limit": limit, "status": status}),
        )

    def list_disputes(
        self, *, limit: int | None = None, order_id: Id | None = None, status: models.DisputeStatus | None = None
    ) -> Pages[models.Dispute]:
        """List disputes.

        Newest first. Filter by order or status.
        """
        return Pages(
            self._send,
            Request(
                "GET",
                path("/v1/disputes"),
                models.DisputePage,
                query={"limit": limit, "order_id": order_id, "status": status},
            ),
        )

    def list_enrollment_batch_rows(
        self, course_id: Id, batch_id: Id, *, limit: int | None = None, result: models.EnrollmentResult | None = None
    ) -> Pages[models.EnrollmentBatchRow]:
        """List the rows of an enrollment batch.

        In the order of their lines, with their results.
        """
        return Pages(
            self._send,
            Request(
                "GET",
                path("/v1/courses/{}/enrollment-batches/{}/rows", course_id, batch_id),
                models.EnrollmentBatchRowPage,
                query={"limit": limit, "result": result},
            ),
        )

    def list_enrollment_batches(self, course_id: Id, *, limit: int | None = None) -> Pages[models.EnrollmentBatch]:
        """List the enrollment batches of a course.

        Newest first. They are deleted some days after their end.
        """
        return Pages(
            self._send,
            Request(
                "GET",
                path("/v1/courses/{}/enrollment-batches", course_id),
                models.EnrollmentBatchPage,
                query={"limit": limit},
            ),
        )

    def list_files(self, course_id: Id, *, limit: int | None = None) -> Pages[models.File]:
        """List files of a course.

        Newest first. Files that no lesson uses are deleted after a day.
        """
        return Pages(
            self._send, Request("GET", path("/v1/courses/{}/files", course_id), models.FilePage, query={"limit": limit})
        )

    def list_jobs(self) -> models.Jobs:
        """List the periodic jobs.

        Of all services, with their latest success and the periods that failed.
        """
        return self._send(Request("GET", path("/v1/jobs"), models.Jobs))

    def list_ledger_accounts(self, *, limit: int | None = None) -> Pages[models.LedgerAccount]:
        """List ledger accounts.

        Returns each account with its balance per currency.
        """
        return Pages(
            self._send, Request("GET", path("/v1/ledger/accounts"), models.LedgerAccountPage, query={"limit": limit})
        )

    def list_ledger_entries(
        self, *, limit: int | None = None, order_id: Id | None = None, account: str | None = None
    ) -> Pages[models.LedgerEntry]:
        """List ledger entries.

        Newest first. Filter by order or account.
        """
        return Pages(
            self._send,
            Request(
                "GET",
                path("/v1/ledger/entries"),
                models.LedgerEntryPage,
                query={"limit": limit, "order_id": order_id, "account": account},
            ),
        )

    def list_notifications(
        self,
        *,
        limit: int | None = None,
        channel: models.NotificationChannel | None = None,
        state: models.NotificationState | None = None,
        category: str | None = None,
        user_id: Id | None = None,
    ) -> Pages[models.NotificationDelivery]:
        """List notifications of all users.

        Newest first, with their delivery state.
        """
        return Pages(
            self._send,
            Request(
                "GET",
                path("/v1/notifications"),
                models.NotificationDeliveryPage,
                query={"limit": limit, "channel": channel, "state": state, "category": category, "user_id": user_id},
            ),
        )

    def list_operations(
        self, *, limit: int | None = None, status: models.OperationStatus | None = None, everyone: bool | None = None
    ) -> Pages[models.Operation]:
        """List operations.

        The caller's own, newest first. They are kept for some days after their end. Those of other callers
        are shown without their results, which may have personal data.
        """
        return Pages(
            self._send,
            Request(
                "GET",
                path("/v1/operations"),
                models.OperationPage,
                query={"limit": limit, "status": status, "everyone": everyone},
            ),
        )

    def list_order_history(self, order_id: Id, *, limit: int | None = None) -> Pages[models.OrderHistoryEntry]:
        """List the history of an order.

        Returns its steps from checkout to access. With `payments:read`, any user's order.
        """
        return Pages(
            self._send,
            Request(
                "GET", path("/v1/orders/{}/timeline", order_id), models.OrderHistoryEntryPage, query={"limit": limit}
            ),
        )

    def list_order_refunds(self, order_id: Id, *, limit: int | None = None) -> Pages[models.Refund]:
        """List refunds of an order.

        With `payments:read`, any user's order.
        """
        return Pages(
            self._send,
            Request("GET", path("/v1/orders/{}/refunds", order_id), models.RefundPage, query={"limit": limit}),
        )

    def list_own_certificates(self, *, limit: int | None = None) -> Pages[models.Certificate]:
        """List the caller's certificates.

        Newest first.
        """
        return Pages(
            self._send, Request("GET", path("/v1/me/certificates"), models.CertificatePage, query={"limit": limit})
        )

    def list_own_courses(self, *, limit: int | None = None) -> Pages[models.LearnerCourseItem]:
        """List the courses that the caller is enrolled in.

        With titles, covers and progress, on sale or not; the latest enrollment first.
        """
        return Pages(
            self._send, Request("GET", path("/v1/me/courses"), models.LearnerCourseItemPage, query={"limit": limit})
        )

    def list_own_devices(self, *, limit: int | None = None) -> Pages[models.Device]:
        """List the caller's devices.

        Oldest first.
        """
        return Pages(self._send, Request("GET", path("/v1/me/devices"), models.Devices, query={"limit": limit}))

    def list_own_enrollments(self, *, limit: int | None = None) -> Pages[models.Enrollment]:
        """List the caller's enrollments.

        Newest first.
        """
        return Pages(
            self._send, Request("GET", path("/v1/me/enrollments"), models.EnrollmentPage, query={"limit": limit})
        )

    def list_own_notifications(
        self, *, limit: int | None = None, unread: bool | None = None
    ) -> Pages[models.Notification]:
        """List the caller's notifications.

        Newest first, without archived ones.
        """
        return Pages(
            self._send,
            Request(
                "GET", path("/v1/me/notifications"), models.NotificationPage, query={"limit": limit, "unread": unread}
            ),
        )

    def list_own_orders(self, *, limit: int | None = None) -> Pages[models.Order]:
        """List the caller's orders.

        Newest first.
        """
        return Pages(self._send, Request("GET", path("/v1/orders"), models.OrderPage, query={"limit": limit}))

    def list_own_progress(self, *, limit: int | None = None) -> Pages[models.CourseProgress]:
        """List the caller's progress.

        One entry per course, most recently started first.
        """
        return Pages(
            self._send, Request("GET", path("/v1/me/progress"), models.CourseProgressPage, query={"limit": limit})
        )

    def list_own_quiz_attempts(
        self, course_id: Id, lesson_id: Id, *, limit: int | None = None
    ) -> Pages[models.OwnQuizAttempt]:
        """List the caller's attempts at a quiz.

        Newest first, with the given answers but not the correct ones.
        """
        return Pages(
            self._send,
            Request(
                "GET",
                path("/v1/courses/{}/lessons/{}/attempts", course_id, lesson_id),
                models.OwnQuizAttemptPage,
                query={"limit": limit},
            ),
        )

    def list_own_subscriptions(self, *, limit: int | None = None) -> Pages[models.PlanSubscription]:
        """List the caller's subscriptions.

        Newest first.
        """
        return Pages(
            self._send,
            Request("GET", path("/v1/me/subscriptions"), models.PlanSubscriptionPage, query={"limit": limit}),
        )

    def list_payments(
        self, *, limit: int | None = None, order_id: Id | None = None, status: models.PaymentStatus | None = None
    ) -> Pages[models.Payment]:
        """List payments.

        Newest first. Filter by order or status.
        """
        return Pages(
            self._send,
            Request(
                "GET",
                path("/v1/payments"),
                models.PaymentPage,
                query={"limit": limit, "order_id": order_id, "status": status},
            ),
        )

    def list_plans(self, *, limit: int | None = None) -> Pages[models.Plan]:
        """List plans on sale.

        With the courses that each gives access to, its price and its trial.
        """
        return Pages(self._send, Request("GET", path("/v1/plans"), models.PlanPage, query={"limit": limit}))

    def list_quarantined_events(self, *, limit: int | None = None) -> Pages[models.QuarantinedEvent]:
        """List quarantined events.

        Events that Kafka permanently rejected, ordered by service, then oldest first.
        """
        return Pages(
            self._send,
            Request("GET", path("/v1/quarantined-events"), models.QuarantinedEventPage, query={"limit": limit}),
        )

    def list_reconciliation_reports(self, *, limit: int | None = None) -> Pages[models.Reconciliation]:
        """List reconciliation reports.

        Each report compares the provider's movements of a period with the ledger. Newest first.
        """
        return Pages(
            self._send,
            Request("GET", path("/v1/reconciliation/reports"), models.ReconciliationPage, query={"limit": limit}),
        )

    def list_refunds(
        self, *, limit: int | None = None, status: models.RefundStatus | None = None
    ) -> Pages[models.Refund]:
        """List all refunds.

        Newest first. Filter by status.
        """
        return Pages(
            self._send, Request("GET", path("/v1/refunds"), models.RefundPage, query={"limit": limit, "status": status})
        )

    def list_reviews(
        self, course_id: Id, *, limit: int | None = None, hidden: bool | None = None
    ) -> Pages[models.Review]:
        """List reviews of a course.

        Newest first.
        """
        return Pages(
            self._send,
            Request(
                "GET",
                path("/v1/courses/{}/reviews", course_id),
                models.ReviewPage,
                query={"limit": limit, "hidden": hidden},
            ),
        )

    def list_taught_courses(
        self, *, limit: int | None = None, status: models.OwnCourseStatus | None = None
    ) -> Pages[models.OwnCourseItem]:
        """List the caller's own courses.

        Includes drafts, newest first. Archived courses are listed with `status=archived` only.
        """
        return Pages(
            self._send,
            Request(
                "GET",
                path("/v1/me/courses/teaching"),
                models.OwnCourseItemPage,
                query={"limit": limit, "status": status},
            ),
        )

    def list_traced_requests(
        self, *, limit: int | None = None, key: str | None = None, user_id: Id | None = None
    ) -> Pages[models.TracedRequest]:
        """List requests that caused events.

        The requests behind the events of an object or about a person, newest first. `limit` is the number
        of events that are looked at, so a page may have fewer requests.
        """
        return Pages(
            self._send,
            Request(
                "GET",
                path("/v1/request-traces"),
                models.TracedRequestPage,
                query={"limit": limit, "key": key, "user_id": user_id},
            ),
        )

    def list_user_certificates(self, user_id: Id, *, limit: int | None = None) -> Pages[models.StaffCertificate]:
        """List a user's certificates.

        Newest first, with the reasons of revocations.
        """
        return Pages(
            self._send,
            Request(
                "GET", path("/v1/users/{}/certificates", user_id), models.StaffCertificatePage, query={"limit": limit}
            ),
        )

    def list_user_devices(self, user_id: Id, *, limit: int | None = None) -> Pages[models.Device]:
        """List a user's devices.

        The devices that receive push messages, oldest first.
        """
        return Pages(
            self._send, Request("GET", path("/v1/users/{}/devices", user_id), models.DevicePage, query={"limit": limit})
        )

    def list_user_enrollments(self, user_id: Id, *, limit: int | None = None) -> Pages[models.Enrollment]:
        """List a user's enrollments.

        Newest first, with progress. `GET /v1/users/{user_id}/access` explains each.
        """
        return Pages(
            self._send,
            Request("GET", path("/v1/users/{}/enrollments", user_id), models.EnrollmentPage, query={"limit": limit}),
        )

    def list_user_notifications(
        self,
        user_id: Id,
        *,
        limit: int | None = None,
        channel: models.NotificationChannel | None = None,
        state: models.NotificationState | None = None,
        category: str | None = None,
    ) -> Pages[models.NotificationDelivery]:
        """List a user's notifications.

        Newest first, on all channels, with their delivery state.
        """
        return Pages(
            self._send,
            Request(
                "GET",
                path("/v1/users/{}/notifications", user_id),
                models.NotificationDeliveryPage,
                query={"limit": limit, "channel": channel, "state": state, "category": category},
            ),
        )

    def list_user_orders(
        self, user_id: Id, *, limit: int | None = None, status: models.OrderStatus | None = None
    ) -> Pages[models.Order]:
        """List a user's orders.

        Newest first.
        """
        return Pages(
            self._send,
            Request(
                "GET", path("/v1/users/{}/orders", user_id), models.OrderPage, query={"limit": limit, "status": status}
            ),
        )

    def list_user_subscriptions(
        self, user_id: Id, *, limit: int | None = None, status: models.SubscriptionStatus | None = None
    ) -> Pages[models.PlanSubscription]:
        """List a user's subscriptions.

        Newest first.
        """
        return Pages(
            self._send,
            Request(
                "GET",
                path("/v1/users/{}/subscriptions", user_id),
                models.PlanSubscriptionPage,
                query={"limit": limit, "status": status},
            ),
        )

    def list_users(
        self,
        *,
        limit: int | None = None,
        q: str | None = None,
        role: models.Role | None = None,
        email: str | None = None,
        email_prefix: str | None = None,
        total: bool | None = None,
    ) -> Pages[models.Profile]:
        """List users.

        Newest first.
        """
        return Pages(
            self._send,
            Request(
                "GET",
                path("/v1/users"),
                models.UserPage,
                query={
                    "limit": limit,
                    "q": q,
                    "role": role,
                    "email": email,
                    "email_prefix": email_prefix,
                    "total": total,
                },
            ),
        )

    def list_webhook_deliveries(
        self, endpoint_id: Id, *, limit: int | None = None, status: models.WebhookDeliveryStatus | None = None
    ) -> Pages[models.WebhookDelivery]:
        """List webhook deliveries.

        Newest first.
        """
        return Pages(
            self._send,
            Request(
                "GET",
                path("/v1/webhook-endpoints/{}/deliveries", endpoint_id),
                models.WebhookDeliveryPage,
                query={"limit": limit, "status": status},
            ),
        )

    def list_webhook_endpoints(self, *, limit: int | None = None) -> Pages[models.WebhookEndpoint]:
        """List webhook endpoints.

        Newest first.
        """
        return Pages(
            self._send,
            Request("GET", path("/v1/webhook-endpoints"), models.WebhookEndpointPage, query={"limit": limit}),
        )

    def mark_all_notifications_read(self, *, idempotency_key: str | None = None) -> models.UnreadCount:
        """Mark all notifications as read.

        Those that arrive later stay unread.
        """
        return self._send(
            Request(
                "POST", path("/v1/me/notifications/read-all"), models.UnreadCount, headers=key_header(idempotency_key)
            )
        )

    def mark_notification_read(self, notification_id: Id, *, idempotency_key: str | None = None) -> models.Notification:
        """Mark a notification as read.

        Idempotent.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/me/notifications/{}/read", notification_id),
                models.Notification,
                headers=key_header(idempotency_key),
            )
        )

    def merge_offline_progress(
        self, body: models.OfflineBatch, *, idempotency_key: str | None = None
    ) -> models.OfflineBatchResult:
        """Merge offline progress.

        Applies events recorded while a device was offline. Only their own times count: in any order, and
        however often a batch is sent, the progress is the same. Never reverts progress, and what was done
        before a lesson was reopened does not complete it again. In a sequential course, `lesson_locked`
        means that the lessons before were not completed at that time; the event is kept and counts if
        earlier events of those lessons arrive later.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/me/progress/batch"),
                models.OfflineBatchResult,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def preview_course(self, course_id: Id) -> models.LearnerCourse:
        """Preview a course as a learner.

        The working copy like `GET /v1/me/courses/{course_id}` for a learner who begins now. No lesson is
        locked, and nothing is recorded.
        """
        return self._send(Request("GET", path("/v1/courses/{}/preview", course_id), models.LearnerCourse))

    def preview_lesson(self, course_id: Id, lesson_id: Id) -> models.Lesson:
        """Preview a lesson as a learner.

        The working copy without the answers of a quiz, with links to its files. Nothing is recorded.
        """
        return self._send(
            Request("GET", path("/v1/courses/{}/preview/lessons/{}", course_id, lesson_id), models.Lesson)
        )

    def preview_publication(self, ref: Id) -> models.PublicationPreview:
        """Preview the publication of a course.

        Returns what a publication of the working copy would change, how many learners it concerns, and the
        errors that prevent it.
        """
        return self._send(Request("GET", path("/v1/courses/{}/publication-preview", ref), models.PublicationPreview))

    def preview_quiz_attempt(
        self,
        course_id: Id,
        lesson_id: Id,
        body: models.PreviewAttemptFields | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> models.PreviewAttempt:
        """Try a quiz.

        Draws the questions of an attempt; with `answers` and the `seed` of the draw, grades them. Nothing
        is kept, no limit applies, and the response is not stored for its `Idempotency-Key`.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/courses/{}/preview/lessons/{}/attempts", course_id, lesson_id),
                models.PreviewAttempt,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def publish_course(
        self,
        ref: Id,
        body: models.Publication | None = None,
        *,
        if_match: int | Versioned | None = None,
        idempotency_key: str | None = None,
    ) -> models.Course:
        """Publish a course.

        Puts the working copy on sale as the next version, if it differs from the version on sale. Published
        versions are immutable. With `If-Match`, a working copy that was changed since is not published.
        Everything that prevents the publication is in `errors` of one 422.

        By default learners keep the version on which they enrolled. With `learners: move`, all of them take
        this one within minutes: completed lessons that it has still count, and who has finished the course
        stays finished.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/courses/{}/publish", ref),
                models.Course,
                body=body,
                headers=version_header(if_match) | key_header(idempotency_key),
            )
        )

    def put_review(
        self, course_id: Id, body: models.ReviewFields, *, idempotency_key: str | None = None
    ) -> models.Review:
        """Create or replace a review.

        Requires access to the course. Each learner has one review per course; a new one replaces it.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/courses/{}/reviews", course_id),
                models.Review,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def register_device(self, body: models.NewDevice, *, idempotency_key: str | None = None) -> models.Device:
        """Register a device.

        Push messages are sent to it from now on. A device registered by another user is reassigned.
        Idempotent.
        """
        return self._send(
            Request("POST", path("/v1/me/devices"), models.Device, body=body, headers=key_header(idempotency_key))
        )

    def reinstate_certificate(self, code: Id, *, idempotency_key: str | None = None) -> models.StaffCertificate:
        """Reinstate a certificate.

        Undoes a revocation, by staff or by a refund. Recorded with the caller. No effect if it is not
        revoked.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/certificates/{}/reinstate", code),
                models.StaffCertificate,
                headers=key_header(idempotency_key),
            )
        )

    def release_quarantined_event(self, event_id: Id, *, idempotency_key: str | None = None) -> models.Released:
        """Release a quarantined event.

        Publishes it and the later events of its key. Events that are rejected again return to quarantine.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/quarantined-events/{}/release", event_id),
                models.Released,
                headers=key_header(idempotency_key),
            )
        )

    def remove_learner_schedule(self, course_id: Id, user_id: Id, *, if_match: int | Versioned) -> None:
        """Remove the schedule of a learner.

        Lessons open by the schedule of the course again.
        """
        self._send(
            Request(
                "DELETE",
                path("/v1/courses/{}/learners/{}/schedule", course_id, user_id),
                None,
                headers=version_header(if_match),
            )
        )

    def reopen_lesson(self, course_id: Id, lesson_id: Id) -> models.CourseProgress:
        """Reopen a lesson.

        Removes its completion. Issued certificates remain valid.
        """
        return self._send(
            Request("DELETE", path("/v1/courses/{}/lessons/{}/completion", course_id, lesson_id), models.CourseProgress)
        )

    def replace_billing_details(
        self, body: models.BillingDetailsFields, *, if_match: int | Versioned
    ) -> models.BillingDetails:
        """Replace the caller's billing details.

        Invoices that are issued from now on have them, and those of the last 30 days that have none.
        """
        return self._send(
            Request(
                "PUT",
                path("/v1/me/billing-details"),
                models.BillingDetails,
                body=body,
                headers=version_header(if_match),
            )
        )

    def replace_certificate_template(
        self, course_id: Id, body: models.CertificateTemplateFields, *, if_match: int | Versioned
    ) -> models.CertificateTemplate:
        """Replace the certificate template of a course.

        Heading, signature and colour apply to all certificates of the course at once, `valid_days` to those
        that are issued from now on.
        """
        return self._send(
            Request(
                "PUT",
                path("/v1/courses/{}/certificate-template", course_id),
                models.CertificateTemplate,
                body=body,
                headers=version_header(if_match),
            )
        )

    def replace_learner_schedule(
        self, course_id: Id, user_id: Id, body: models.ScheduleFields, *, if_match: int | Versioned
    ) -> models.Schedule:
        """Replace the schedule of a learner.

        Opens lessons for one learner at times of their own, or all lessons with a time earlier or later.
        Takes effect at once and is recorded in the audit; the learner sees the reason. Completed lessons
        stay completed.
        """
        return self._send(
            Request(
                "PUT",
                path("/v1/courses/{}/learners/{}/schedule", course_id, user_id),
                models.Schedule,
                body=body,
                headers=version_header(if_match),
            )
        )

    def replace_notification_preferences(
        self, body: models.Preferences, *, if_match: int | Versioned
    ) -> models.VersionedPreferences:
        """Replace notification preferences.

        Applies also to notifications that wait, for example for the end of quiet hours.
        """
        return self._send(
            Request(
                "PUT",
                path("/v1/me/notification-preferences"),
                models.VersionedPreferences,
                body=body,
                headers=version_header(if_match),
            )
        )

    def replace_outline(self, course_id: Id, body: models.Outline, *, if_match: int | Versioned) -> models.Course:
        """Replace the course outline.

        Reorders all sections and lessons. Sections that are not listed are removed.
        """
        return self._send(
            Request(
                "PUT",
                path("/v1/courses/{}/outline", course_id),
                models.Course,
                body=body,
                headers=version_header(if_match),
            )
        )

    def replay_dead_letter(
        self, dead_letter_id: Id, *, idempotency_key: str | None = None
    ) -> models.DeadLetterReplayResult:
        """Replay dead letters.

        Redelivers the open dead letters of this key to their handler in order, until one fails.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/dead-letters/{}/replay", dead_letter_id),
                models.DeadLetterReplayResult,
                headers=key_header(idempotency_key),
            )
        )

    def replay_events(
        self, endpoint_id: Id, body: models.ReplayRequest, *, idempotency_key: str | None = None
    ) -> models.ReplayScheduled:
        """Replay events to a webhook endpoint.

        Sends the events of a period again, as far back as the event feed reaches.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/webhook-endpoints/{}/replay", endpoint_id),
                models.ReplayScheduled,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def reply_to_review(self, course_id: Id, review_id: Id, body: models.ReplyFields) -> models.Review:
        """Reply to a review.

        As an instructor of the course. A new reply replaces the earlier one.
        """
        return self._send(
            Request("PUT", path("/v1/courses/{}/reviews/{}/reply", course_id, review_id), models.Review, body=body)
        )

    def request_data_export(self, *, idempotency_key: str | None = None) -> models.Operation:
        """Request a data export.

        Every service exports the caller's personal data. The result of the operation says where to find it.
        """
        return self._send(Request("POST", path("/v1/me/export"), models.Operation, headers=key_header(idempotency_key)))

    def resend_notification(
        self, notification_id: Id, *, idempotency_key: str | None = None
    ) -> models.NotificationDelivery:
        """Resend a notification.

        Sends a finished e-mail or push notification again. One that is in progress is left unchanged.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/notifications/{}/replay", notification_id),
                models.NotificationDelivery,
                headers=key_header(idempotency_key),
            )
        )

    def resend_webhook_delivery(
        self, endpoint_id: Id, delivery_id: Id, *, idempotency_key: str | None = None
    ) -> models.WebhookDelivery:
        """Resend a webhook delivery.

        Keeps its `webhook-id`.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/webhook-endpoints/{}/deliveries/{}/replay", endpoint_id, delivery_id),
                models.WebhookDelivery,
                headers=key_header(idempotency_key),
            )
        )

    def resolve_dispute(
        self, dispute_id: Id, body: models.DisputeResolution, *, idempotency_key: str | None = None
    ) -> models.Dispute:
        """Resolve a dispute in review.

        The resolution is recorded with the caller and the note.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/disputes/{}/resolve", dispute_id),
                models.Dispute,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def resolve_payment(
        self, payment_id: Id, body: models.PaymentResolution, *, idempotency_key: str | None = None
    ) -> models.PaymentDetails:
        """Resolve a payment in review.

        The resolution is recorded with the caller and the note.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/payments/{}/resolve", payment_id),
                models.PaymentDetails,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def resolve_refund(
        self, refund_id: Id, body: models.RefundResolution, *, idempotency_key: str | None = None
    ) -> models.Refund:
        """Resolve a refund in review.

        The resolution is recorded with the caller and the note.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/refunds/{}/resolve", refund_id),
                models.Refund,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def restore_course_version(
        self, ref: Id, course_version: int, *, if_match: int | Versioned, idempotency_key: str | None = None
    ) -> models.Course:
        """Restore a version.

        Replaces the working copy with a published version. Learners see it after the next publish.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/courses/{}/versions/{}/restore", ref, course_version),
                models.Course,
                headers=version_header(if_match) | key_header(idempotency_key),
            )
        )

    def revoke_access(
        self, user_id: Id, body: models.AccessChange, *, idempotency_key: str | None = None
    ) -> models.UserAccess:
        """Revoke access to a course.

        Ends what staff gave and a free enrollment. Access that was bought is not revoked here, but by a
        refund or by canceling the subscription; if nothing else gives access, this is a 409. Idempotent.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/users/{}/access/revoke", user_id),
                models.UserAccess,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def revoke_certificate(
        self, code: Id, body: models.CertificateRevocation, *, idempotency_key: str | None = None
    ) -> models.StaffCertificate:
        """Revoke a certificate.

        The public page, the API and the badge then say that it is not valid. Recorded with the caller and
        the reason. No effect if staff have revoked it already.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/certificates/{}/revoke", code),
                models.StaffCertificate,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def rotate_webhook_secret(self, endpoint_id: Id) -> models.WebhookEndpointWithSecret:
        """Rotate the signing secret.

        The new secret is only returned here. Webhooks are also signed with the old one for a day.
        """
        return self._send(
            Request(
                "POST", path("/v1/webhook-endpoints/{}/rotate-secret", endpoint_id), models.WebhookEndpointWithSecret
            )
        )

    def run_job_again(self, kind: Id, body: models.JobSlot, *, idempotency_key: str | None = None) -> None:
        """Run a failed period of a job again.

        A worker starts it within a minute.
        """
        self._send(
            Request("POST", path("/v1/jobs/{}/run-again", kind), None, body=body, headers=key_header(idempotency_key))
        )

    def save_quiz_answers(
        self, course_id: Id, lesson_id: Id, attempt: int, body: models.Answers
    ) -> models.QuizAttemptDetails:
        """Save the answers of an open quiz attempt.

        They replace what was saved before, and are graded if the time ends before a submission.
        """
        return self._send(
            Request(
                "PUT",
                path("/v1/courses/{}/lessons/{}/attempts/{}/answers", course_id, lesson_id, attempt),
                models.QuizAttemptDetails,
                body=body,
            )
        )

    def set_instructors(
        self, course_id: Id, body: models.InstructorsFields, *, if_match: int | Versioned
    ) -> models.Course:
        """Set the instructors of a course.

        For its owner; an editor may send the present instructors without themselves. Takes effect at once.
        Editors change and publish the course, reply to reviews and see its learners; they do not archive it
        and do not choose instructors. They need the permission `courses:write`, too.
        """
        return self._send(
            Request(
                "PUT",
                path("/v1/courses/{}/instructors", course_id),
                models.Course,
                body=body,
                headers=version_header(if_match),
            )
        )

    def set_prerequisites(
        self, course_id: Id, body: models.Prerequisites, *, if_match: int | Versioned
    ) -> models.Course:
        """Set the prerequisites of a course.

        Sets the courses to complete first and whether lessons are sequential. Takes effect with the next
        publish.
        """
        return self._send(
            Request(
                "PUT",
                path("/v1/courses/{}/prerequisites", course_id),
                models.Course,
                body=body,
                headers=version_header(if_match),
            )
        )

    def set_roles(self, user_id: Id, body: models.Roles, *, if_match: int | Versioned) -> models.Profile:
        """Set a user's roles.

        Replaces all roles. The user's next token carries the new permissions.
        """
        return self._send(
            Request(
                "PUT", path("/v1/users/{}/roles", user_id), models.Profile, body=body, headers=version_header(if_match)
            )
        )

    def show_review(self, course_id: Id, review_id: Id, *, idempotency_key: str | None = None) -> models.Review:
        """Show a hidden review again.

        It is listed and counted again. Idempotent.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/courses/{}/reviews/{}/show", course_id, review_id),
                models.Review,
                headers=key_header(idempotency_key),
            )
        )

    def start_quiz_attempt(
        self, course_id: Id, lesson_id: Id, *, idempotency_key: str | None = None
    ) -> models.QuizAttemptDetails:
        """Start a quiz attempt.

        Draws and shuffles the questions and starts the time. Idempotent: an open attempt is returned again.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/courses/{}/lessons/{}/attempts/start", course_id, lesson_id),
                models.QuizAttemptDetails,
                headers=key_header(idempotency_key),
            )
        )

    def start_upload(
        self, course_id: Id, body: models.FileFields, *, idempotency_key: str | None = None
    ) -> models.NewFile:
        """Start an upload.

        Returns a signed link. `PUT` the contents there, then complete the upload. Covers are pictures up to
        5 MB; captions are WebVTT up to 2 MB; videos are MP4 or WebM up to 4 GB; attachments are PDF,
        pictures, MP3, ZIP, texts and office documents up to 200 MB. A course has up to 100 uploads that are
        not complete.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/courses/{}/files", course_id),
                models.NewFile,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def submit_quiz_answers(
        self, course_id: Id, lesson_id: Id, attempt: int, body: models.Answers, *, idempotency_key: str | None = None
    ) -> models.QuizAttemptDetails:
        """Submit the answers of an open quiz attempt.

        Graded by the version in which the attempt was started. After the time limit it is refused with 409
        `attempt_expired`, and the saved answers are graded. A passing score completes a lesson whose
        completion rule is `min_score`.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/courses/{}/lessons/{}/attempts/{}/submission", course_id, lesson_id, attempt),
                models.QuizAttemptDetails,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def submit_quiz_attempt(
        self, course_id: Id, lesson_id: Id, body: models.Answers, *, idempotency_key: str | None = None
    ) -> models.QuizAttempt:
        """Submit a quiz attempt.

        Starts and grades an attempt in one step; an open attempt is graded instead. A quiz with a limit, a
        pool or shuffling must be started first. A passing score completes a lesson whose completion rule is
        `min_score`.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/courses/{}/lessons/{}/attempts", course_id, lesson_id),
                models.QuizAttempt,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    def sync_checkout(self, checkout_id: Id, *, idempotency_key: str | None = None) -> models.Order:
        """Sync a checkout session.

        Fetches the payment's status from the provider. Call it when the buyer returns from the hosted
        checkout page.
        """
        return self._send(
            Request(
                "POST", path("/v1/checkouts/{}/sync", checkout_id), models.Order, headers=key_header(idempotency_key)
            )
        )

    def test_webhook_endpoint(self, endpoint_id: Id, *, idempotency_key: str | None = None) -> models.WebhookTestResult:
        """Send a test webhook.

        Sends a `WEBHOOK_TEST` event at once and returns the outcome. Also works for disabled endpoints.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/webhook-endpoints/{}/test", endpoint_id),
                models.WebhookTestResult,
                headers=key_header(idempotency_key),
            )
        )

    def unarchive_course(
        self, ref: Id, *, if_match: int | Versioned | None = None, idempotency_key: str | None = None
    ) -> models.Course:
        """Unarchive a course.

        Returns an archived course to its author as a draft, which can be changed and published again. No
        effect if it is not archived.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/courses/{}/unarchive", ref),
                models.Course,
                headers=version_header(if_match) | key_header(idempotency_key),
            )
        )

    def unpublish_course(self, ref: Id, *, idempotency_key: str | None = None) -> models.Course:
        """Unpublish a course.

        The course is taken off sale. Enrolled learners keep their access. While it is off sale, courses of
        which it is a prerequisite are open without it.
        """
        return self._send(
            Request("POST", path("/v1/courses/{}/unpublish", ref), models.Course, headers=key_header(idempotency_key))
        )

    def update_bundle(self, bundle_id: Id, body: models.BundleChanges, *, if_match: int | Versioned) -> models.Bundle:
        """Update a bundle.

        Changes its fields, or takes it off sale with `on_sale: false`.
        """
        return self._send(
            Request(
                "PATCH", path("/v1/bundles/{}", bundle_id), models.Bundle, body=body, headers=version_header(if_match)
            )
        )

    def update_coupon(self, coupon_id: Id, body: models.CouponLimits, *, if_match: int | Versioned) -> models.Coupon:
        """Update a coupon.

        Changes its limits and dates; null removes one.
        """
        return self._send(
            Request(
                "PATCH", path("/v1/coupons/{}", coupon_id), models.Coupon, body=body, headers=version_header(if_match)
            )
        )

    def update_course(self, ref: Id, body: models.CourseChanges, *, if_match: int | Versioned) -> models.Course:
        """Update a course.

        A new price or slug takes effect at once, all other changes with the next publish. Former slugs keep
        leading to the course and are never given to another one.
        """
        return self._send(
            Request("PATCH", path("/v1/courses/{}", ref), models.Course, body=body, headers=version_header(if_match))
        )

    def update_lesson(
        self, course_id: Id, lesson_id: Id, body: models.LessonChanges, *, if_match: int | Versioned
    ) -> models.Lesson:
        """Update a lesson.

        A `section_id` moves the lesson to the end of that section. `If-Match` takes the ETag of the course.
        """
        return self._send(
            Request(
                "PATCH",
                path("/v1/courses/{}/lessons/{}", course_id, lesson_id),
                models.Lesson,
                body=body,
                headers=version_header(if_match),
            )
        )

    def update_plan(self, plan_id: Id, body: models.PlanChange, *, if_match: int | Versioned) -> models.Plan:
        """Update a plan.

        Applies to new subscriptions; existing subscribers keep their terms.
        """
        return self._send(
            Request("PATCH", path("/v1/plans/{}", plan_id), models.Plan, body=body, headers=version_header(if_match))
        )

    def update_position(self, course_id: Id, lesson_id: Id, body: models.PositionFields) -> models.Position:
        """Update the playback position in a lesson.

        `furthest_seconds` never decreases. A position after the end of the lesson is the end. A lesson
        whose completion rule is `viewed` is completed when 95 % of it were watched: a player reports its
        position at least every 30 seconds, or says with `from_seconds` which part was watched.
        """
        return self._send(
            Request("PUT", path("/v1/courses/{}/lessons/{}/position", course_id, lesson_id), models.Position, body=body)
        )

    def update_profile(self, body: models.ProfileChanges, *, if_match: int | Versioned) -> models.OwnProfile:
        """Update the caller's profile.

        Only the given fields. The e-mail address belongs to the identity provider.
        """
        return self._send(
            Request("PATCH", path("/v1/me"), models.OwnProfile, body=body, headers=version_header(if_match))
        )

    def update_section(
        self, course_id: Id, section_id: Id, body: models.SectionFields, *, if_match: int | Versioned
    ) -> models.Section:
        """Update a section.

        Changes its title. `If-Match` takes the ETag of the course.
        """
        return self._send(
            Request(
                "PATCH",
                path("/v1/courses/{}/sections/{}", course_id, section_id),
                models.Section,
                body=body,
                headers=version_header(if_match),
            )
        )

    def update_user(self, user_id: Id, body: models.ProfileChanges, *, if_match: int | Versioned) -> models.Profile:
        """Update a user.

        Only the given fields; recorded in the audit with the state before and after.
        """
        return self._send(
            Request("PATCH", path("/v1/users/{}", user_id), models.Profile, body=body, headers=version_header(if_match))
        )

    def update_webhook_endpoint(
        self, endpoint_id: Id, body: models.WebhookEndpointChanges, *, if_match: int | Versioned
    ) -> models.WebhookEndpoint:
        """Update a webhook endpoint.

        Also enables or disables it.
        """
        return self._send(
            Request(
                "PATCH",
                path("/v1/webhook-endpoints/{}", endpoint_id),
                models.WebhookEndpoint,
                body=body,
                headers=version_header(if_match),
            )
        )

    def upgrade_own_course(self, course_id: Id, *, idempotency_key: str | None = None) -> models.CourseProgress:
        """Take the newest version of a course.

        Completed lessons that it has still count, and a finished course stays finished. Idempotent.
        """
        return self._send(
            Request(
                "POST",
                path("/v1/me/courses/{}/upgrade", course_id),
                models.CourseProgress,
                headers=key_header(idempotency_key),
            )
        )

    def verify_certificate(self, code: Id) -> models.PublicCertificate:
        """Verify a certificate.

        Public: the code is sufficient. Returns JSON, or by `Accept` a page or a PDF in English or Russian,
        by `Accept-Language`; 406 for any other media type. A revoked certificate has no PDF
        (`certificate_revoked`).
        """
        return self._send(Request("GET", path("/v1/certificates/{}", code), models.PublicCertificate))


class AsyncOperations:
    """The operations of the asynchronous client."""

    async def _send(self, request: Request[T]) -> T:
        raise NotImplementedError

    async def add_extra_quiz_attempts(
        self, course_id: Id, lesson_id: Id, body: models.ExtraAttemptsFields, *, idempotency_key: str | None = None
    ) -> models.ExtraAttempts:
        """Give a learner extra attempts at a quiz.

        Beyond its limit; each request adds to the earlier ones.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/courses/{}/lessons/{}/extra-attempts", course_id, lesson_id),
                models.ExtraAttempts,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def archive_course(self, ref: Id, *, if_match: int | Versioned) -> None:
        """Archive a course.

        The course is taken off sale and hidden. Enrolled learners keep their access. Refused with
        `prerequisite_of_courses` as long as courses on sale require it. For its owner.
        """
        await self._send(Request("DELETE", path("/v1/courses/{}", ref), None, headers=version_header(if_match)))

    async def archive_notification(
        self, notification_id: Id, *, idempotency_key: str | None = None
    ) -> models.Notification:
        """Archive a notification.

        Idempotent.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/me/notifications/{}/archive", notification_id),
                models.Notification,
                headers=key_header(idempotency_key),
            )
        )

    async def cancel_operation(self, operation_id: Id, *, idempotency_key: str | None = None) -> models.Operation:
        """Cancel an operation.

        Only before it has started. It then has the status `failed` and the error code `operation_canceled`.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/operations/{}/cancel", operation_id),
                models.Operation,
                headers=key_header(idempotency_key),
            )
        )

    async def cancel_order(self, order_id: Id, *, idempotency_key: str | None = None) -> models.Order:
        """Cancel an order.

        The order must be unpaid. Also closes its checkout session.
        """
        return await self._send(
            Request("POST", path("/v1/orders/{}/cancel", order_id), models.Order, headers=key_header(idempotency_key))
        )

    async def cancel_subscription(
        self, subscription_id: Id, *, idempotency_key: str | None = None
    ) -> models.PlanSubscription:
        """Cancel a subscription.

        Cancels at the end of the current period; access continues until then.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/subscriptions/{}/cancel", subscription_id),
                models.PlanSubscription,
                headers=key_header(idempotency_key),
            )
        )

    async def change_access_end(
        self, course_id: Id, user_id: Id, body: models.AccessEnd, *, if_match: int | Versioned
    ) -> models.CourseLearner:
        """Change when the access of a learner ends.

        For the owner of the course and staff. Replaces the end of every reason that has one, also of access
        that has expired: the learner then continues where they stopped. What was sold cannot end earlier.
        Access without an end is not changed (`access_has_no_end`).
        """
        return await self._send(
            Request(
                "PATCH",
                path("/v1/courses/{}/learners/{}", course_id, user_id),
                models.CourseLearner,
                body=body,
                headers=version_header(if_match),
            )
        )

    async def complete_lesson(self, course_id: Id, lesson_id: Id) -> models.CourseProgress:
        """Complete a lesson.

        Idempotent.
        """
        return await self._send(
            Request("PUT", path("/v1/courses/{}/lessons/{}/completion", course_id, lesson_id), models.CourseProgress)
        )

    async def complete_upload(self, course_id: Id, file_id: Id, *, idempotency_key: str | None = None) -> models.File:
        """Complete an upload.

        Checks size and type of the contents in the store. A file whose contents are not what was declared
        is deleted and refused with `file_rejected`.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/courses/{}/files/{}/complete", course_id, file_id),
                models.File,
                headers=key_header(idempotency_key),
            )
        )

    async def correct_certificate(self, code: Id, body: models.CertificateCorrection) -> models.PublicCertificate:
        """Correct the name on a certificate.

        A certificate keeps the name of the day it was issued. This replaces it, for example after a typing
        error in the profile or a change of name. The correction is recorded with the caller.
        """
        return await self._send(
            Request("PATCH", path("/v1/certificates/{}", code), models.PublicCertificate, body=body)
        )

    async def count_unread_notifications(self) -> models.UnreadCount:
        """Count unread notifications.

        For the badge of a bell. Archived notifications do not count.
        """
        return await self._send(Request("GET", path("/v1/me/notifications/unread-count"), models.UnreadCount))

    async def create_announcement(
        self, course_id: Id, body: models.AnnouncementFields, *, idempotency_key: str | None = None
    ) -> models.Announcement:
        """Send an announcement to the learners of a course.

        To everyone who has access now, as their preferences allow (category `announcements`). It is sent in
        the background: `recipients_done` shows the progress. A few a day for each course
        (`announcement_limit_reached`).
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/courses/{}/announcements", course_id),
                models.Announcement,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def create_bundle(self, body: models.BundleRequest, *, idempotency_key: str | None = None) -> models.Bundle:
        """Create a bundle.

        A bundle sells several courses at one price.
        """
        return await self._send(
            Request("POST", path("/v1/bundles"), models.Bundle, body=body, headers=key_header(idempotency_key))
        )

    async def create_checkout(
        self, body: models.CheckoutRequest, *, idempotency_key: str | None = None
    ) -> models.Checkout:
        """Create a checkout session.

        Returns the open session for the same purchase if there is one. An order with a total of zero, for
        example after a coupon, is fulfilled at once.
        """
        return await self._send(
            Request("POST", path("/v1/checkouts"), models.Checkout, body=body, headers=key_header(idempotency_key))
        )

    async def create_coupon(self, body: models.CouponTerms, *, idempotency_key: str | None = None) -> models.Coupon:
        """Create a coupon.

        Coupon codes are not case-sensitive.
        """
        return await self._send(
            Request("POST", path("/v1/coupons"), models.Coupon, body=body, headers=key_header(idempotency_key))
        )

    async def create_course(self, body: models.CourseFields, *, idempotency_key: str | None = None) -> models.Course:
        """Create a course.

        The course is a draft that only its author sees until it is published. Without `slug` a free one is
        made of the title; a given one that another course has, or had, is refused with `slug_taken`.
        """
        return await self._send(
            Request("POST", path("/v1/courses"), models.Course, body=body, headers=key_header(idempotency_key))
        )

    async def create_course_version(
        self,
        ref: Id,
        body: models.Publication | None = None,
        *,
        if_match: int | Versioned | None = None,
        idempotency_key: str | None = None,
    ) -> models.Course:
        """Create a version.

        Publishes the working copy, like `POST /v1/courses/{ref}/publish`.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/courses/{}/versions", ref),
                models.Course,
                body=body,
                headers=version_header(if_match) | key_header(idempotency_key),
            )
        )

    async def create_enrollment(
        self, course_id: Id, body: models.Enroll | None = None, *, idempotency_key: str | None = None
    ) -> models.Enrollment:
        """Create an enrollment.

        Enrolls the caller in a free course. With `courses:admin`, enrolls another user in any course.
        Idempotent.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/courses/{}/enrollments", course_id),
                models.Enrollment,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def create_enrollment_batch(
        self, course_id: Id, body: models.EnrollmentBatchFields, *, idempotency_key: str | None = None
    ) -> models.Operation:
        """Enroll or unenroll people by their addresses.

        In a free course; staff with `courses:admin` also in others. Each row has a result of its own. An
        address that no user has verified is invited: access begins when a user verifies it. Access that was
        bought is not ended. The batch has the UUID of the operation and shows the progress; when all rows
        have a result, it is the result of the operation.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/courses/{}/enrollment-batches", course_id),
                models.Operation,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def create_lesson(
        self, course_id: Id, body: models.LessonFields, *, idempotency_key: str | None = None
    ) -> models.Lesson:
        """Create a lesson.

        The lesson is appended to its section.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/courses/{}/lessons", course_id),
                models.Lesson,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def create_plan(self, body: models.PlanRequest, *, idempotency_key: str | None = None) -> models.Plan:
        """Create a plan.

        A plan gives access to its courses for a monthly or yearly price.
        """
        return await self._send(
            Request("POST", path("/v1/plans"), models.Plan, body=body, headers=key_header(idempotency_key))
        )

    async def create_refund(
        self, order_id: Id, body: models.RefundRequest, *, idempotency_key: str | None = None
    ) -> models.Refund:
        """Create a refund.

        Refunds an order fully or in part. Access ends when the full amount is refunded; a subscription ends
        with its current period.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/orders/{}/refunds", order_id),
                models.Refund,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def create_section(
        self, course_id: Id, body: models.SectionFields, *, idempotency_key: str | None = None
    ) -> models.Section:
        """Create a section.

        The section is appended to the outline.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/courses/{}/sections", course_id),
                models.Section,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def create_stream_ticket(self) -> models.StreamTicket:
        """Create a ticket for the stream.

        For a browser, whose EventSource sends no headers. A ticket opens one stream within 30 seconds. When
        the stream has ended, create a new ticket and open it with `last_event_id`.
        """
        return await self._send(Request("POST", path("/v1/me/notifications/stream-ticket"), models.StreamTicket))

    async def create_subscription(
        self, body: models.PlanSubscriptionRequest, *, idempotency_key: str | None = None
    ) -> models.PlanSubscription:
        """Create a subscription.

        Charges the caller's saved payment method or starts a trial. With neither, create a checkout session
        with `plan_id` instead.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/subscriptions"),
                models.PlanSubscription,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def create_webhook_endpoint(self, body: models.WebhookEndpointFields) -> models.WebhookEndpointWithSecret:
        """Create a webhook endpoint.

        Events are sent to its URL. The signing secret is only returned here.
        """
        return await self._send(
            Request("POST", path("/v1/webhook-endpoints"), models.WebhookEndpointWithSecret, body=body)
        )

    async def delete_device(self, device_id: Id) -> None:
        """Delete a device.

        Stops push messages to it.
        """
        await self._send(Request("DELETE", path("/v1/me/devices/{}", device_id), None))

    async def delete_lesson(self, course_id: Id, lesson_id: Id, *, if_match: int | Versioned) -> None:
        """Delete a lesson.

        `If-Match` takes the ETag of the course.
        """
        await self._send(
            Request(
                "DELETE",
                path("/v1/courses/{}/lessons/{}", course_id, lesson_id),
                None,
                headers=version_header(if_match),
            )
        )

    async def delete_own_review(self, course_id: Id) -> None:
        """Delete the caller's review of a course.

        With its reply. The rating of the course no longer counts it.
        """
        await self._send(Request("DELETE", path("/v1/me/courses/{}/review", course_id), None))

    async def delete_review_reply(self, course_id: Id, review_id: Id) -> None:
        """Delete the reply to a review.

        No effect without a reply.
        """
        await self._send(Request("DELETE", path("/v1/courses/{}/reviews/{}/reply", course_id, review_id), None))

    async def delete_section(self, course_id: Id, section_id: Id, *, if_match: int | Versioned) -> None:
        """Delete a section.

        The section must be empty. `If-Match` takes the ETag of the course.
        """
        await self._send(
            Request(
                "DELETE",
                path("/v1/courses/{}/sections/{}", course_id, section_id),
                None,
                headers=version_header(if_match),
            )
        )

    async def delete_webhook_endpoint(self, endpoint_id: Id) -> None:
        """Delete a webhook endpoint.

        Also deletes its deliveries.
        """
        await self._send(Request("DELETE", path("/v1/webhook-endpoints/{}", endpoint_id), None))

    async def duplicate_course(
        self, ref: Id, body: models.Copy | None = None, *, idempotency_key: str | None = None
    ) -> models.Course:
        """Duplicate a course.

        Copies the working copy with all lessons to a new draft of the caller. Sections and lessons get new
        ids. Learners, reviews and versions are not copied.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/courses/{}/copies", ref),
                models.Course,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def erase_account(self, *, if_match: int | Versioned) -> models.Operation:
        """Erase the caller's account.

        Erases personal data in every service. The result of the operation is the receipt, which lists data
        retained by law and the reasons. The token stays valid for reading it.
        """
        return await self._send(Request("DELETE", path("/v1/me"), models.Operation, headers=version_header(if_match)))

    async def erase_user(self, user_id: Id, *, if_match: int | Versioned) -> models.Operation:
        """Erase a user.

        Erases personal data in every service. The result of the operation is the receipt.
        """
        return await self._send(
            Request("DELETE", path("/v1/users/{}", user_id), models.Operation, headers=version_header(if_match))
        )

    async def export_course(self, ref: Id) -> models.CourseDocument:
        """Export a course.

        Returns the working copy as a document, with the contents of all lessons and the answers of quizzes.
        `POST /v1/course-imports` creates an equal course from it, here or in another installation.
        """
        return await self._send(Request("GET", path("/v1/courses/{}/export", ref), models.CourseDocument))

    async def get_announcement(self, course_id: Id, announcement_id: Id) -> models.Announcement:
        """Retrieve an announcement.

        With its progress.
        """
        return await self._send(
            Request("GET", path("/v1/courses/{}/announcements/{}", course_id, announcement_id), models.Announcement)
        )

    async def get_billing_details(self) -> models.BillingDetails:
        """Retrieve the caller's billing details.

        What invoices name beside the profile's name. Null until they are given.
        """
        return await self._send(Request("GET", path("/v1/me/billing-details"), models.BillingDetails))

    async def get_bundle(self, bundle_id: Id) -> models.Bundle:
        """Retrieve a bundle.

        Bundles that are not on sale are visible to callers with `payments:admin` only.
        """
        return await self._send(Request("GET", path("/v1/bundles/{}", bundle_id), models.Bundle))

    async def get_certificate_template(self, course_id: Id) -> models.CertificateTemplate:
        """Retrieve the certificate template of a course.

        Null fields have the defaults.
        """
        return await self._send(
            Request("GET", path("/v1/courses/{}/certificate-template", course_id), models.CertificateTemplate)
        )

    async def get_coupon(self, coupon_id: Id) -> models.Coupon:
        """Retrieve a coupon.

        With the number of its redemptions.
        """
        return await self._send(Request("GET", path("/v1/coupons/{}", coupon_id), models.Coupon))

    async def get_course(self, ref: Id) -> models.Course:
        """Retrieve a course.

        `ref` is the id, the slug, or a former slug; `slug` of the response is the present one. Returns the
        published version with its outline; authors get the working copy.
        """
        return await self._send(Request("GET", path("/v1/courses/{}", ref), models.Course))

    async def get_course_learner(self, course_id: Id, user_id: Id) -> models.CourseLearner:
        """Retrieve a learner of a course.

        With the reasons of the access and when each ends.
        """
        return await self._send(
            Request("GET", path("/v1/courses/{}/learners/{}", course_id, user_id), models.CourseLearner)
        )

    async def get_course_progress(self, course_id: Id) -> models.CourseProgress:
        """Retrieve the caller's progress in a course.

        The shares of completed lessons, and the lesson to continue with.
        """
        return await self._send(Request("GET", path("/v1/courses/{}/progress", course_id), models.CourseProgress))

    async def get_course_statistics(
        self, course_id: Id, *, since: str | None = None, until: str | None = None
    ) -> models.CourseStatistics:
        """Retrieve the statistics of a course.

        Enrollments, active learners, completions, ratings and revenue by day; in total also the completion
        of each lesson and its quiz. For the author and, with `courses:admin`, of any course. Some seconds
        behind. `Accept: text/csv` returns the days as CSV.
        """
        return await self._send(
            Request(
                "GET",
                path("/v1/courses/{}/statistics", course_id),
                models.CourseStatistics,
                query={"since": since, "until": until},
            )
        )

    async def get_dashboard(self) -> models.Dashboard:
        """Retrieve the dashboard.

        Returns the caller's profile, latest courses with progress, unread notification count and
        subscriptions.
        """
        return await self._send(Request("GET", path("/v1/me/dashboard"), models.Dashboard))

    async def get_data_export(self) -> models.Export:
        """Retrieve the latest data export.

        What each service stores about the caller. 404 until the first one is finished.
        """
        return await self._send(Request("GET", path("/v1/me/export"), models.Export))

    async def get_enrollment_batch(self, course_id: Id, batch_id: Id) -> models.EnrollmentBatch:
        """Retrieve an enrollment batch.

        With its progress.
        """
        return await self._send(
            Request("GET", path("/v1/courses/{}/enrollment-batches/{}", course_id, batch_id), models.EnrollmentBatch)
        )

    async def get_instructor(self, user_id: Id) -> models.Instructor:
        """Retrieve the public profile of an instructor.

        Of users with the role `instructor` or `admin`. `GET /v1/courses?instructor_id=` lists their courses
        on sale.
        """
        return await self._send(Request("GET", path("/v1/instructors/{}", user_id), models.Instructor))

    async def get_instructors(self, course_id: Id) -> models.Instructors:
        """Retrieve the instructors of a course.

        The ETag is that of the course. `GET /v1/instructors/{user_id}` has their names.
        """
        return await self._send(Request("GET", path("/v1/courses/{}/instructors", course_id), models.Instructors))

    async def get_invoice(self, order_id: Id) -> models.Invoice:
        """Retrieve the invoice of an order.

        The order must be paid. Returns JSON, or by `Accept` a page or a PDF in English or Russian, by
        `Accept-Language`. Seller, tax and the buyer's billing details are those of the day of issue. With
        `payments:read`, any user's order.
        """
        return await self._send(Request("GET", path("/v1/orders/{}/invoice", order_id), models.Invoice))

    async def get_learner_schedule(self, course_id: Id, user_id: Id) -> models.Schedule:
        """Retrieve the schedule of a learner.

        For the instructors of the course and, with `courses:admin`, of any course.
        """
        return await self._send(
            Request("GET", path("/v1/courses/{}/learners/{}/schedule", course_id, user_id), models.Schedule)
        )

    async def get_lesson(self, course_id: Id, lesson_id: Id) -> models.Lesson:
        """Retrieve a lesson.

        Returns the lesson with its content, and links to its files, which end: load the lesson again for
        new ones. Requires access to the course, unless the lesson is a free preview.
        """
        return await self._send(Request("GET", path("/v1/courses/{}/lessons/{}", course_id, lesson_id), models.Lesson))

    async def get_notification_preferences(self) -> models.VersionedPreferences:
        """Retrieve notification preferences.

        All channels of all categories; what the user has not chosen is on.
        """
        return await self._send(Request("GET", path("/v1/me/notification-preferences"), models.VersionedPreferences))

    async def get_operation(self, operation_id: Id) -> models.Operation:
        """Retrieve an operation.

        Its status and, when it has ended, the response of its command or the problem. Visible to its owner
        only.
        """
        return await self._send(Request("GET", path("/v1/operations/{}", operation_id), models.Operation))

    async def get_order(self, order_id: Id) -> models.Order:
        """Retrieve an order.

        With `payments:read`, any user's order.
        """
        return await self._send(Request("GET", path("/v1/orders/{}", order_id), models.Order))

    async def get_outline(self, course_id: Id) -> models.Course:
        """Retrieve the course outline.

        The working copy with all sections and lessons, also before the course is published.
        """
        return await self._send(Request("GET", path("/v1/courses/{}/outline", course_id), models.Course))

    async def get_own_access(self, course_id: Id) -> models.Access:
        """Check the caller's access to a course.

        Returns whether the caller has access, and the grants that it rests on.
        """
        return await self._send(Request("GET", path("/v1/me/courses/{}/access", course_id), models.Access))

    async def get_own_course(self, course_id: Id) -> models.LearnerCourse:
        """Retrieve a course that the caller is enrolled in.

        The learner's page in one response: the outline of their version, the state of each lesson,
        progress, certificate and access. Available as long as the caller has access, on sale or not.
        """
        return await self._send(Request("GET", path("/v1/me/courses/{}", course_id), models.LearnerCourse))

    async def get_own_quiz(self, course_id: Id, lesson_id: Id) -> models.QuizState:
        """Retrieve the caller's state in a quiz.

        Its rules, the attempts that are left, the open attempt and the best score.
        """
        return await self._send(
            Request("GET", path("/v1/courses/{}/lessons/{}/quiz", course_id, lesson_id), models.QuizState)
        )

    async def get_own_quiz_attempt(self, course_id: Id, lesson_id: Id, attempt: int) -> models.QuizAttemptDetails:
        """Retrieve one of the caller's quiz attempts.

        With the questions as the learner saw them; with points, correct answers and explanations of each
        question once the settings of the quiz allow it.
        """
        return await self._send(
            Request(
                "GET",
                path("/v1/courses/{}/lessons/{}/attempts/{}", course_id, lesson_id, attempt),
                models.QuizAttemptDetails,
            )
        )

    async def get_own_review(self, course_id: Id) -> models.Review:
        """Retrieve the caller's review of a course.

        Also if staff have hidden it.
        """
        return await self._send(Request("GET", path("/v1/me/courses/{}/review", course_id), models.Review))

    async def get_payment(self, payment_id: Id) -> models.PaymentDetails:
        """Retrieve a payment.

        Returns the payment with its resolutions.
        """
        return await self._send(Request("GET", path("/v1/payments/{}", payment_id), models.PaymentDetails))

    async def get_plan(self, plan_id: Id) -> models.Plan:
        """Retrieve a plan.

        Plans that are not on sale are visible to callers with `payments:admin` only.
        """
        return await self._send(Request("GET", path("/v1/plans/{}", plan_id), models.Plan))

    async def get_position(self, course_id: Id, lesson_id: Id) -> models.Position:
        """Retrieve the playback position in a lesson.

        As stored by any device of the caller; 0 if none has been stored.
        """
        return await self._send(
            Request("GET", path("/v1/courses/{}/lessons/{}/position", course_id, lesson_id), models.Position)
        )

    async def get_prerequisites(self, course_id: Id) -> models.CoursePrerequisites:
        """Retrieve the prerequisites of a course.

        Of the working copy. The ETag is that of the course.
        """
        return await self._send(
            Request("GET", path("/v1/courses/{}/prerequisites", course_id), models.CoursePrerequisites)
        )

    async def get_profile(self) -> models.OwnProfile:
        """Retrieve the caller's profile.

        Until the profile is created, it is built from the claims of the token. `roles` and `permissions`
        are those of the token.
        """
        return await self._send(Request("GET", path("/v1/me"), models.OwnProfile))

    async def get_request_trace(self, request_id: Id) -> models.RequestTrace:
        """Retrieve the trace of a request.

        The events that the request with this `X-Request-Id` has caused, directly or through other events:
        when each was recorded and published, and what each of its handlers has done.
        """
        return await self._send(Request("GET", path("/v1/request-traces/{}", request_id), models.RequestTrace))

    async def get_roles(self, user_id: Id) -> models.UserRoles:
        """Retrieve a user's roles.

        The ETag is that of the user, for `If-Match` of the change.
        """
        return await self._send(Request("GET", path("/v1/users/{}/roles", user_id), models.UserRoles))

    async def get_section(self, course_id: Id, section_id: Id) -> models.Section:
        """Retrieve a section.

        Of the working copy. The ETag is that of the course.
        """
        return await self._send(
            Request("GET", path("/v1/courses/{}/sections/{}", course_id, section_id), models.Section)
        )

    async def get_shop_statistics(self, *, since: str | None = None, until: str | None = None) -> models.ShopStatistics:
        """Retrieve the statistics of the shop.

        Payments, refunds, enrollments and completions of all courses by day. Some seconds behind. The
        ledger (`GET /v1/ledger/entries`) also has fees and disputes. `Accept: text/csv` returns the days as
        CSV.
        """
        return await self._send(
            Request("GET", path("/v1/statistics"), models.ShopStatistics, query={"since": since, "until": until})
        )

    async def get_status(self) -> models.Status:
        """Retrieve the status of all services.

        What waits in the queues and outboxes, what has failed, and the clocks. A worker answers from its
        queue, so one that is behind shows as not responding.
        """
        return await self._send(Request("GET", path("/v1/status"), models.Status))

    async def get_streak(self) -> models.Streak:
        """Retrieve the caller's streak.

        Consecutive days with a completed lesson, in the caller's time zone.
        """
        return await self._send(Request("GET", path("/v1/me/streak"), models.Streak))

    async def get_subscription(self, subscription_id: Id) -> models.PlanSubscription:
        """Retrieve a subscription.

        Only the caller's own.
        """
        return await self._send(Request("GET", path("/v1/subscriptions/{}", subscription_id), models.PlanSubscription))

    async def get_user(self, user_id: Id) -> models.Profile:
        """Retrieve a user.

        The read is recorded in the audit.
        """
        return await self._send(Request("GET", path("/v1/users/{}", user_id), models.Profile))

    async def get_user_access(self, user_id: Id, *, course_id: Id | None = None) -> models.UserAccess:
        """Explain a user's access to a course.

        Says whether the user has access, with every reason for it and against it: which order,
        subscription, free enrollment or grant by staff, since when and until when, or why it gives none.
        """
        return await self._send(
            Request("GET", path("/v1/users/{}/access", user_id), models.UserAccess, query={"course_id": course_id})
        )

    async def get_webhook_endpoint(self, endpoint_id: Id) -> models.WebhookEndpoint:
        """Retrieve a webhook endpoint.

        Without its secret, which only its creation and a rotation return.
        """
        return await self._send(Request("GET", path("/v1/webhook-endpoints/{}", endpoint_id), models.WebhookEndpoint))

    async def grant_access(
        self, user_id: Id, body: models.AccessGrant, *, idempotency_key: str | None = None
    ) -> models.UserAccess:
        """Grant access to a course.

        At any price, also to a course that is no longer on sale; until `ends_at`, or for good. Idempotent;
        access that was revoked or has expired is given again, and the end replaces the one that the same
        member of staff has set.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/users/{}/access", user_id),
                models.UserAccess,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def hide_review(
        self, course_id: Id, review_id: Id, body: models.Moderation, *, idempotency_key: str | None = None
    ) -> models.Review:
        """Hide a review.

        It is no longer listed, and the rating of the course no longer counts it. It stays hidden if the
        learner changes it. Idempotent.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/courses/{}/reviews/{}/hide", course_id, review_id),
                models.Review,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def import_course(self, body: models.CourseDocument, *, idempotency_key: str | None = None) -> models.Course:
        """Import a course.

        Creates a draft of the caller from the document of an export, with new ids. A document with errors
        is refused as a whole: each error has a pointer to its place.
        """
        return await self._send(
            Request("POST", path("/v1/course-imports"), models.Course, body=body, headers=key_header(idempotency_key))
        )

    async def leave_course(self, course_id: Id, *, idempotency_key: str | None = None) -> None:
        """Leave a course.

        Ends access that was not bought. Progress and certificates stay, and a free course can be joined
        again. What was bought is a 409 `access_purchased`. Idempotent.
        """
        await self._send(
            Request("POST", path("/v1/me/courses/{}/leave", course_id), None, headers=key_header(idempotency_key))
        )

    def list_announcements(self, course_id: Id, *, limit: int | None = None) -> AsyncPages[models.Announcement]:
        """List the announcements of a course.

        Newest first.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET", path("/v1/courses/{}/announcements", course_id), models.AnnouncementPage, query={"limit": limit}
            ),
        )

    def list_audit_entries(
        self,
        *,
        limit: int | None = None,
        actor: str | None = None,
        subject_id: Id | None = None,
        kind: models.AuditKind | None = None,
        command: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> AsyncPages[models.AuditEntry]:
        """List the audit log.

        Every command that staff or a machine client executed successfully, with the changed values, and
        every read of another person's personal data by staff. Newest first. The entries are kept for good
        and no service can change them.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET",
                path("/v1/audit"),
                models.AuditEntryPage,
                query={
                    "limit": limit,
                    "actor": actor,
                    "subject_id": subject_id,
                    "kind": kind,
                    "command": command,
                    "since": since,
                    "until": until,
                },
            ),
        )

    def list_bundles(self, *, limit: int | None = None) -> AsyncPages[models.Bundle]:
        """List bundles on sale.

        Newest first.
        """
        return AsyncPages(self._send, Request("GET", path("/v1/bundles"), models.BundlePage, query={"limit": limit}))

    def list_coupons(self, *, limit: int | None = None) -> AsyncPages[models.Coupon]:
        """List coupons.

        Newest first.
        """
        return AsyncPages(self._send, Request("GET", path("/v1/coupons"), models.CouponPage, query={"limit": limit}))

    def list_course_learners(
        self,
        course_id: Id,
        *,
        limit: int | None = None,
        status: models.EnrollmentStatus | None = None,
        progress_min: int | None = None,
        progress_max: int | None = None,
    ) -> AsyncPages[models.Learner]:
        """List the learners of a course.

        Latest enrollment first, with progress. For the author of the course and, with `courses:admin`, of
        any course.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET",
                path("/v1/courses/{}/learners", course_id),
                models.LearnerPage,
                query={"limit": limit, "status": status, "progress_min": progress_min, "progress_max": progress_max},
            ),
        )

    def list_course_versions(self, ref: Id, *, limit: int | None = None) -> AsyncPages[models.CourseVersion]:
        """List published versions of a course.

        Newest first.
        """
        return AsyncPages(
            self._send,
            Request("GET", path("/v1/courses/{}/versions", ref), models.CourseVersionPage, query={"limit": limit}),
        )

    def list_courses(
        self,
        *,
        limit: int | None = None,
        q: str | None = None,
        category: str | None = None,
        level: models.CourseLevel | None = None,
        language: str | None = None,
        tag: str | None = None,
        instructor_id: Id | None = None,
        free: bool | None = None,
        currency: str | None = None,
        price_min: int | None = None,
        price_max: int | None = None,
        sort: models.CatalogueOrder | None = None,
        facets: bool | None = None,
        total: bool | None = None,
    ) -> AsyncPages[models.CourseItem]:
        """List or search courses on sale.

        With `q`, searches titles, tags and summaries, and with less weight descriptions and the titles of
        sections and lessons; if nothing matches, similar spellings are tried. Prices are sorted within each
        currency. `sort=rating` weighs the average by the number of ratings, as if each rated course had ten
        more of 3.5.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET",
                path("/v1/courses"),
                models.CoursesPage,
                query={
                    "limit": limit,
                    "q": q,
                    "category": category,
                    "level": level,
                    "language": language,
                    "tag": tag,
                    "instructor_id": instructor_id,
                    "free": free,
                    "currency": currency,
                    "price_min": price_min,
                    "price_max": price_max,
                    "sort": sort,
                    "facets": facets,
                    "total": total,
                },
            ),
        )

    def list_dead_letters(
        self, *, limit: int | None = None, status: models.DeadLetterStatus | None = None
    ) -> AsyncPages[models.DeadLetter]:
        """List dead letters.

        Ordered by service, then oldest first.
        """
        return AsyncPages(
            self._send,
            Request("GET", path("/v1/dead-letters"), models.DeadLetterPage, query={"limit": limit, "status": status}),
        )

    def list_disputes(
        self, *, limit: int | None = None, order_id: Id | None = None, status: models.DisputeStatus | None = None
    ) -> AsyncPages[models.Dispute]:
        """List disputes.

        Newest first. Filter by order or status.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET",
                path("/v1/disputes"),
                models.DisputePage,
                query={"limit": limit, "order_id": order_id, "status": status},
            ),
        )

    def list_enrollment_batch_rows(
        self, course_id: Id, batch_id: Id, *, limit: int | None = None, result: models.EnrollmentResult | None = None
    ) -> AsyncPages[models.EnrollmentBatchRow]:
        """List the rows of an enrollment batch.

        In the order of their lines, with their results.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET",
                path("/v1/courses/{}/enrollment-batches/{}/rows", course_id, batch_id),
                models.EnrollmentBatchRowPage,
                query={"limit": limit, "result": result},
            ),
        )

    def list_enrollment_batches(self, course_id: Id, *, limit: int | None = None) -> AsyncPages[models.EnrollmentBatch]:
        """List the enrollment batches of a course.

        Newest first. They are deleted some days after their end.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET",
                path("/v1/courses/{}/enrollment-batches", course_id),
                models.EnrollmentBatchPage,
                query={"limit": limit},
            ),
        )

    def list_files(self, course_id: Id, *, limit: int | None = None) -> AsyncPages[models.File]:
        """List files of a course.

        Newest first. Files that no lesson uses are deleted after a day.
        """
        return AsyncPages(
            self._send, Request("GET", path("/v1/courses/{}/files", course_id), models.FilePage, query={"limit": limit})
        )

    async def list_jobs(self) -> models.Jobs:
        """List the periodic jobs.

        Of all services, with their latest success and the periods that failed.
        """
        return await self._send(Request("GET", path("/v1/jobs"), models.Jobs))

    def list_ledger_accounts(self, *, limit: int | None = None) -> AsyncPages[models.LedgerAccount]:
        """List ledger accounts.

        Returns each account with its balance per currency.
        """
        return AsyncPages(
            self._send, Request("GET", path("/v1/ledger/accounts"), models.LedgerAccountPage, query={"limit": limit})
        )

    def list_ledger_entries(
        self, *, limit: int | None = None, order_id: Id | None = None, account: str | None = None
    ) -> AsyncPages[models.LedgerEntry]:
        """List ledger entries.

        Newest first. Filter by order or account.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET",
                path("/v1/ledger/entries"),
                models.LedgerEntryPage,
                query={"limit": limit, "order_id": order_id, "account": account},
            ),
        )

    def list_notifications(
        self,
        *,
        limit: int | None = None,
        channel: models.NotificationChannel | None = None,
        state: models.NotificationState | None = None,
        category: str | None = None,
        user_id: Id | None = None,
    ) -> AsyncPages[models.NotificationDelivery]:
        """List notifications of all users.

        Newest first, with their delivery state.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET",
                path("/v1/notifications"),
                models.NotificationDeliveryPage,
                query={"limit": limit, "channel": channel, "state": state, "category": category, "user_id": user_id},
            ),
        )

    def list_operations(
        self, *, limit: int | None = None, status: models.OperationStatus | None = None, everyone: bool | None = None
    ) -> AsyncPages[models.Operation]:
        """List operations.

        The caller's own, newest first. They are kept for some days after their end. Those of other callers
        are shown without their results, which may have personal data.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET",
                path("/v1/operations"),
                models.OperationPage,
                query={"limit": limit, "status": status, "everyone": everyone},
            ),
        )

    def list_order_history(self, order_id: Id, *, limit: int | None = None) -> AsyncPages[models.OrderHistoryEntry]:
        """List the history of an order.

        Returns its steps from checkout to access. With `payments:read`, any user's order.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET", path("/v1/orders/{}/timeline", order_id), models.OrderHistoryEntryPage, query={"limit": limit}
            ),
        )

    def list_order_refunds(self, order_id: Id, *, limit: int | None = None) -> AsyncPages[models.Refund]:
        """List refunds of an order.

        With `payments:read`, any user's order.
        """
        return AsyncPages(
            self._send,
            Request("GET", path("/v1/orders/{}/refunds", order_id), models.RefundPage, query={"limit": limit}),
        )

    def list_own_certificates(self, *, limit: int | None = None) -> AsyncPages[models.Certificate]:
        """List the caller's certificates.

        Newest first.
        """
        return AsyncPages(
            self._send, Request("GET", path("/v1/me/certificates"), models.CertificatePage, query={"limit": limit})
        )

    def list_own_courses(self, *, limit: int | None = None) -> AsyncPages[models.LearnerCourseItem]:
        """List the courses that the caller is enrolled in.

        With titles, covers and progress, on sale or not; the latest enrollment first.
        """
        return AsyncPages(
            self._send, Request("GET", path("/v1/me/courses"), models.LearnerCourseItemPage, query={"limit": limit})
        )

    def list_own_devices(self, *, limit: int | None = None) -> AsyncPages[models.Device]:
        """List the caller's devices.

        Oldest first.
        """
        return AsyncPages(self._send, Request("GET", path("/v1/me/devices"), models.Devices, query={"limit": limit}))

    def list_own_enrollments(self, *, limit: int | None = None) -> AsyncPages[models.Enrollment]:
        """List the caller's enrollments.

        Newest first.
        """
        return AsyncPages(
            self._send, Request("GET", path("/v1/me/enrollments"), models.EnrollmentPage, query={"limit": limit})
        )

    def list_own_notifications(
        self, *, limit: int | None = None, unread: bool | None = None
    ) -> AsyncPages[models.Notification]:
        """List the caller's notifications.

        Newest first, without archived ones.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET", path("/v1/me/notifications"), models.NotificationPage, query={"limit": limit, "unread": unread}
            ),
        )

    def list_own_orders(self, *, limit: int | None = None) -> AsyncPages[models.Order]:
        """List the caller's orders.

        Newest first.
        """
        return AsyncPages(self._send, Request("GET", path("/v1/orders"), models.OrderPage, query={"limit": limit}))

    def list_own_progress(self, *, limit: int | None = None) -> AsyncPages[models.CourseProgress]:
        """List the caller's progress.

        One entry per course, most recently started first.
        """
        return AsyncPages(
            self._send, Request("GET", path("/v1/me/progress"), models.CourseProgressPage, query={"limit": limit})
        )

    def list_own_quiz_attempts(
        self, course_id: Id, lesson_id: Id, *, limit: int | None = None
    ) -> AsyncPages[models.OwnQuizAttempt]:
        """List the caller's attempts at a quiz.

        Newest first, with the given answers but not the correct ones.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET",
                path("/v1/courses/{}/lessons/{}/attempts", course_id, lesson_id),
                models.OwnQuizAttemptPage,
                query={"limit": limit},
            ),
        )

    def list_own_subscriptions(self, *, limit: int | None = None) -> AsyncPages[models.PlanSubscription]:
        """List the caller's subscriptions.

        Newest first.
        """
        return AsyncPages(
            self._send,
            Request("GET", path("/v1/me/subscriptions"), models.PlanSubscriptionPage, query={"limit": limit}),
        )

    def list_payments(
        self, *, limit: int | None = None, order_id: Id | None = None, status: models.PaymentStatus | None = None
    ) -> AsyncPages[models.Payment]:
        """List payments.

        Newest first. Filter by order or status.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET",
                path("/v1/payments"),
                models.PaymentPage,
                query={"limit": limit, "order_id": order_id, "status": status},
            ),
        )

    def list_plans(self, *, limit: int | None = None) -> AsyncPages[models.Plan]:
        """List plans on sale.

        With the courses that each gives access to, its price and its trial.
        """
        return AsyncPages(self._send, Request("GET", path("/v1/plans"), models.PlanPage, query={"limit": limit}))

    def list_quarantined_events(self, *, limit: int | None = None) -> AsyncPages[models.QuarantinedEvent]:
        """List quarantined events.

        Events that Kafka permanently rejected, ordered by service, then oldest first.
        """
        return AsyncPages(
            self._send,
            Request("GET", path("/v1/quarantined-events"), models.QuarantinedEventPage, query={"limit": limit}),
        )

    def list_reconciliation_reports(self, *, limit: int | None = None) -> AsyncPages[models.Reconciliation]:
        """List reconciliation reports.

        Each report compares the provider's movements of a period with the ledger. Newest first.
        """
        return AsyncPages(
            self._send,
            Request("GET", path("/v1/reconciliation/reports"), models.ReconciliationPage, query={"limit": limit}),
        )

    def list_refunds(
        self, *, limit: int | None = None, status: models.RefundStatus | None = None
    ) -> AsyncPages[models.Refund]:
        """List all refunds.

        Newest first. Filter by status.
        """
        return AsyncPages(
            self._send, Request("GET", path("/v1/refunds"), models.RefundPage, query={"limit": limit, "status": status})
        )

    def list_reviews(
        self, course_id: Id, *, limit: int | None = None, hidden: bool | None = None
    ) -> AsyncPages[models.Review]:
        """List reviews of a course.

        Newest first.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET",
                path("/v1/courses/{}/reviews", course_id),
                models.ReviewPage,
                query={"limit": limit, "hidden": hidden},
            ),
        )

    def list_taught_courses(
        self, *, limit: int | None = None, status: models.OwnCourseStatus | None = None
    ) -> AsyncPages[models.OwnCourseItem]:
        """List the caller's own courses.

        Includes drafts, newest first. Archived courses are listed with `status=archived` only.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET",
                path("/v1/me/courses/teaching"),
                models.OwnCourseItemPage,
                query={"limit": limit, "status": status},
            ),
        )

    def list_traced_requests(
        self, *, limit: int | None = None, key: str | None = None, user_id: Id | None = None
    ) -> AsyncPages[models.TracedRequest]:
        """List requests that caused events.

        The requests behind the events of an object or about a person, newest first. `limit` is the number
        of events that are looked at, so a page may have fewer requests.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET",
                path("/v1/request-traces"),
                models.TracedRequestPage,
                query={"limit": limit, "key": key, "user_id": user_id},
            ),
        )

    def list_user_certificates(self, user_id: Id, *, limit: int | None = None) -> AsyncPages[models.StaffCertificate]:
        """List a user's certificates.

        Newest first, with the reasons of revocations.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET", path("/v1/users/{}/certificates", user_id), models.StaffCertificatePage, query={"limit": limit}
            ),
        )

    def list_user_devices(self, user_id: Id, *, limit: int | None = None) -> AsyncPages[models.Device]:
        """List a user's devices.

        The devices that receive push messages, oldest first.
        """
        return AsyncPages(
            self._send, Request("GET", path("/v1/users/{}/devices", user_id), models.DevicePage, query={"limit": limit})
        )

    def list_user_enrollments(self, user_id: Id, *, limit: int | None = None) -> AsyncPages[models.Enrollment]:
        """List a user's enrollments.

        Newest first, with progress. `GET /v1/users/{user_id}/access` explains each.
        """
        return AsyncPages(
            self._send,
            Request("GET", path("/v1/users/{}/enrollments", user_id), models.EnrollmentPage, query={"limit": limit}),
        )

    def list_user_notifications(
        self,
        user_id: Id,
        *,
        limit: int | None = None,
        channel: models.NotificationChannel | None = None,
        state: models.NotificationState | None = None,
        category: str | None = None,
    ) -> AsyncPages[models.NotificationDelivery]:
        """List a user's notifications.

        Newest first, on all channels, with their delivery state.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET",
                path("/v1/users/{}/notifications", user_id),
                models.NotificationDeliveryPage,
                query={"limit": limit, "channel": channel, "state": state, "category": category},
            ),
        )

    def list_user_orders(
        self, user_id: Id, *, limit: int | None = None, status: models.OrderStatus | None = None
    ) -> AsyncPages[models.Order]:
        """List a user's orders.

        Newest first.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET", path("/v1/users/{}/orders", user_id), models.OrderPage, query={"limit": limit, "status": status}
            ),
        )

    def list_user_subscriptions(
        self, user_id: Id, *, limit: int | None = None, status: models.SubscriptionStatus | None = None
    ) -> AsyncPages[models.PlanSubscription]:
        """List a user's subscriptions.

        Newest first.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET",
                path("/v1/users/{}/subscriptions", user_id),
                models.PlanSubscriptionPage,
                query={"limit": limit, "status": status},
            ),
        )

    def list_users(
        self,
        *,
        limit: int | None = None,
        q: str | None = None,
        role: models.Role | None = None,
        email: str | None = None,
        email_prefix: str | None = None,
        total: bool | None = None,
    ) -> AsyncPages[models.Profile]:
        """List users.

        Newest first.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET",
                path("/v1/users"),
                models.UserPage,
                query={
                    "limit": limit,
                    "q": q,
                    "role": role,
                    "email": email,
                    "email_prefix": email_prefix,
                    "total": total,
                },
            ),
        )

    def list_webhook_deliveries(
        self, endpoint_id: Id, *, limit: int | None = None, status: models.WebhookDeliveryStatus | None = None
    ) -> AsyncPages[models.WebhookDelivery]:
        """List webhook deliveries.

        Newest first.
        """
        return AsyncPages(
            self._send,
            Request(
                "GET",
                path("/v1/webhook-endpoints/{}/deliveries", endpoint_id),
                models.WebhookDeliveryPage,
                query={"limit": limit, "status": status},
            ),
        )

    def list_webhook_endpoints(self, *, limit: int | None = None) -> AsyncPages[models.WebhookEndpoint]:
        """List webhook endpoints.

        Newest first.
        """
        return AsyncPages(
            self._send,
            Request("GET", path("/v1/webhook-endpoints"), models.WebhookEndpointPage, query={"limit": limit}),
        )

    async def mark_all_notifications_read(self, *, idempotency_key: str | None = None) -> models.UnreadCount:
        """Mark all notifications as read.

        Those that arrive later stay unread.
        """
        return await self._send(
            Request(
                "POST", path("/v1/me/notifications/read-all"), models.UnreadCount, headers=key_header(idempotency_key)
            )
        )

    async def mark_notification_read(
        self, notification_id: Id, *, idempotency_key: str | None = None
    ) -> models.Notification:
        """Mark a notification as read.

        Idempotent.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/me/notifications/{}/read", notification_id),
                models.Notification,
                headers=key_header(idempotency_key),
            )
        )

    async def merge_offline_progress(
        self, body: models.OfflineBatch, *, idempotency_key: str | None = None
    ) -> models.OfflineBatchResult:
        """Merge offline progress.

        Applies events recorded while a device was offline. Only their own times count: in any order, and
        however often a batch is sent, the progress is the same. Never reverts progress, and what was done
        before a lesson was reopened does not complete it again. In a sequential course, `lesson_locked`
        means that the lessons before were not completed at that time; the event is kept and counts if
        earlier events of those lessons arrive later.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/me/progress/batch"),
                models.OfflineBatchResult,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def preview_course(self, course_id: Id) -> models.LearnerCourse:
        """Preview a course as a learner.

        The working copy like `GET /v1/me/courses/{course_id}` for a learner who begins now. No lesson is
        locked, and nothing is recorded.
        """
        return await self._send(Request("GET", path("/v1/courses/{}/preview", course_id), models.LearnerCourse))

    async def preview_lesson(self, course_id: Id, lesson_id: Id) -> models.Lesson:
        """Preview a lesson as a learner.

        The working copy without the answers of a quiz, with links to its files. Nothing is recorded.
        """
        return await self._send(
            Request("GET", path("/v1/courses/{}/preview/lessons/{}", course_id, lesson_id), models.Lesson)
        )

    async def preview_publication(self, ref: Id) -> models.PublicationPreview:
        """Preview the publication of a course.

        Returns what a publication of the working copy would change, how many learners it concerns, and the
        errors that prevent it.
        """
        return await self._send(
            Request("GET", path("/v1/courses/{}/publication-preview", ref), models.PublicationPreview)
        )

    async def preview_quiz_attempt(
        self,
        course_id: Id,
        lesson_id: Id,
        body: models.PreviewAttemptFields | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> models.PreviewAttempt:
        """Try a quiz.

        Draws the questions of an attempt; with `answers` and the `seed` of the draw, grades them. Nothing
        is kept, no limit applies, and the response is not stored for its `Idempotency-Key`.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/courses/{}/preview/lessons/{}/attempts", course_id, lesson_id),
                models.PreviewAttempt,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def publish_course(
        self,
        ref: Id,
        body: models.Publication | None = None,
        *,
        if_match: int | Versioned | None = None,
        idempotency_key: str | None = None,
    ) -> models.Course:
        """Publish a course.

        Puts the working copy on sale as the next version, if it differs from the version on sale. Published
        versions are immutable. With `If-Match`, a working copy that was changed since is not published.
        Everything that prevents the publication is in `errors` of one 422.

        By default learners keep the version on which they enrolled. With `learners: move`, all of them take
        this one within minutes: completed lessons that it has still count, and who has finished the course
        stays finished.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/courses/{}/publish", ref),
                models.Course,
                body=body,
                headers=version_header(if_match) | key_header(idempotency_key),
            )
        )

    async def put_review(
        self, course_id: Id, body: models.ReviewFields, *, idempotency_key: str | None = None
    ) -> models.Review:
        """Create or replace a review.

        Requires access to the course. Each learner has one review per course; a new one replaces it.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/courses/{}/reviews", course_id),
                models.Review,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def register_device(self, body: models.NewDevice, *, idempotency_key: str | None = None) -> models.Device:
        """Register a device.

        Push messages are sent to it from now on. A device registered by another user is reassigned.
        Idempotent.
        """
        return await self._send(
            Request("POST", path("/v1/me/devices"), models.Device, body=body, headers=key_header(idempotency_key))
        )

    async def reinstate_certificate(self, code: Id, *, idempotency_key: str | None = None) -> models.StaffCertificate:
        """Reinstate a certificate.

        Undoes a revocation, by staff or by a refund. Recorded with the caller. No effect if it is not
        revoked.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/certificates/{}/reinstate", code),
                models.StaffCertificate,
                headers=key_header(idempotency_key),
            )
        )

    async def release_quarantined_event(self, event_id: Id, *, idempotency_key: str | None = None) -> models.Released:
        """Release a quarantined event.

        Publishes it and the later events of its key. Events that are rejected again return to quarantine.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/quarantined-events/{}/release", event_id),
                models.Released,
                headers=key_header(idempotency_key),
            )
        )

    async def remove_learner_schedule(self, course_id: Id, user_id: Id, *, if_match: int | Versioned) -> None:
        """Remove the schedule of a learner.

        Lessons open by the schedule of the course again.
        """
        await self._send(
            Request(
                "DELETE",
                path("/v1/courses/{}/learners/{}/schedule", course_id, user_id),
                None,
                headers=version_header(if_match),
            )
        )

    async def reopen_lesson(self, course_id: Id, lesson_id: Id) -> models.CourseProgress:
        """Reopen a lesson.

        Removes its completion. Issued certificates remain valid.
        """
        return await self._send(
            Request("DELETE", path("/v1/courses/{}/lessons/{}/completion", course_id, lesson_id), models.CourseProgress)
        )

    async def replace_billing_details(
        self, body: models.BillingDetailsFields, *, if_match: int | Versioned
    ) -> models.BillingDetails:
        """Replace the caller's billing details.

        Invoices that are issued from now on have them, and those of the last 30 days that have none.
        """
        return await self._send(
            Request(
                "PUT",
                path("/v1/me/billing-details"),
                models.BillingDetails,
                body=body,
                headers=version_header(if_match),
            )
        )

    async def replace_certificate_template(
        self, course_id: Id, body: models.CertificateTemplateFields, *, if_match: int | Versioned
    ) -> models.CertificateTemplate:
        """Replace the certificate template of a course.

        Heading, signature and colour apply to all certificates of the course at once, `valid_days` to those
        that are issued from now on.
        """
        return await self._send(
            Request(
                "PUT",
                path("/v1/courses/{}/certificate-template", course_id),
                models.CertificateTemplate,
                body=body,
                headers=version_header(if_match),
            )
        )

    async def replace_learner_schedule(
        self, course_id: Id, user_id: Id, body: models.ScheduleFields, *, if_match: int | Versioned
    ) -> models.Schedule:
        """Replace the schedule of a learner.

        Opens lessons for one learner at times of their own, or all lessons with a time earlier or later.
        Takes effect at once and is recorded in the audit; the learner sees the reason. Completed lessons
        stay completed.
        """
        return await self._send(
            Request(
                "PUT",
                path("/v1/courses/{}/learners/{}/schedule", course_id, user_id),
                models.Schedule,
                body=body,
                headers=version_header(if_match),
            )
        )

    async def replace_notification_preferences(
        self, body: models.Preferences, *, if_match: int | Versioned
    ) -> models.VersionedPreferences:
        """Replace notification preferences.

        Applies also to notifications that wait, for example for the end of quiet hours.
        """
        return await self._send(
            Request(
                "PUT",
                path("/v1/me/notification-preferences"),
                models.VersionedPreferences,
                body=body,
                headers=version_header(if_match),
            )
        )

    async def replace_outline(self, course_id: Id, body: models.Outline, *, if_match: int | Versioned) -> models.Course:
        """Replace the course outline.

        Reorders all sections and lessons. Sections that are not listed are removed.
        """
        return await self._send(
            Request(
                "PUT",
                path("/v1/courses/{}/outline", course_id),
                models.Course,
                body=body,
                headers=version_header(if_match),
            )
        )

    async def replay_dead_letter(
        self, dead_letter_id: Id, *, idempotency_key: str | None = None
    ) -> models.DeadLetterReplayResult:
        """Replay dead letters.

        Redelivers the open dead letters of this key to their handler in order, until one fails.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/dead-letters/{}/replay", dead_letter_id),
                models.DeadLetterReplayResult,
                headers=key_header(idempotency_key),
            )
        )

    async def replay_events(
        self, endpoint_id: Id, body: models.ReplayRequest, *, idempotency_key: str | None = None
    ) -> models.ReplayScheduled:
        """Replay events to a webhook endpoint.

        Sends the events of a period again, as far back as the event feed reaches.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/webhook-endpoints/{}/replay", endpoint_id),
                models.ReplayScheduled,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def reply_to_review(self, course_id: Id, review_id: Id, body: models.ReplyFields) -> models.Review:
        """Reply to a review.

        As an instructor of the course. A new reply replaces the earlier one.
        """
        return await self._send(
            Request("PUT", path("/v1/courses/{}/reviews/{}/reply", course_id, review_id), models.Review, body=body)
        )

    async def request_data_export(self, *, idempotency_key: str | None = None) -> models.Operation:
        """Request a data export.

        Every service exports the caller's personal data. The result of the operation says where to find it.
        """
        return await self._send(
            Request("POST", path("/v1/me/export"), models.Operation, headers=key_header(idempotency_key))
        )

    async def resend_notification(
        self, notification_id: Id, *, idempotency_key: str | None = None
    ) -> models.NotificationDelivery:
        """Resend a notification.

        Sends a finished e-mail or push notification again. One that is in progress is left unchanged.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/notifications/{}/replay", notification_id),
                models.NotificationDelivery,
                headers=key_header(idempotency_key),
            )
        )

    async def resend_webhook_delivery(
        self, endpoint_id: Id, delivery_id: Id, *, idempotency_key: str | None = None
    ) -> models.WebhookDelivery:
        """Resend a webhook delivery.

        Keeps its `webhook-id`.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/webhook-endpoints/{}/deliveries/{}/replay", endpoint_id, delivery_id),
                models.WebhookDelivery,
                headers=key_header(idempotency_key),
            )
        )

    async def resolve_dispute(
        self, dispute_id: Id, body: models.DisputeResolution, *, idempotency_key: str | None = None
    ) -> models.Dispute:
        """Resolve a dispute in review.

        The resolution is recorded with the caller and the note.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/disputes/{}/resolve", dispute_id),
                models.Dispute,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def resolve_payment(
        self, payment_id: Id, body: models.PaymentResolution, *, idempotency_key: str | None = None
    ) -> models.PaymentDetails:
        """Resolve a payment in review.

        The resolution is recorded with the caller and the note.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/payments/{}/resolve", payment_id),
                models.PaymentDetails,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def resolve_refund(
        self, refund_id: Id, body: models.RefundResolution, *, idempotency_key: str | None = None
    ) -> models.Refund:
        """Resolve a refund in review.

        The resolution is recorded with the caller and the note.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/refunds/{}/resolve", refund_id),
                models.Refund,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def restore_course_version(
        self, ref: Id, course_version: int, *, if_match: int | Versioned, idempotency_key: str | None = None
    ) -> models.Course:
        """Restore a version.

        Replaces the working copy with a published version. Learners see it after the next publish.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/courses/{}/versions/{}/restore", ref, course_version),
                models.Course,
                headers=version_header(if_match) | key_header(idempotency_key),
            )
        )

    async def revoke_access(
        self, user_id: Id, body: models.AccessChange, *, idempotency_key: str | None = None
    ) -> models.UserAccess:
        """Revoke access to a course.

        Ends what staff gave and a free enrollment. Access that was bought is not revoked here, but by a
        refund or by canceling the subscription; if nothing else gives access, this is a 409. Idempotent.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/users/{}/access/revoke", user_id),
                models.UserAccess,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def revoke_certificate(
        self, code: Id, body: models.CertificateRevocation, *, idempotency_key: str | None = None
    ) -> models.StaffCertificate:
        """Revoke a certificate.

        The public page, the API and the badge then say that it is not valid. Recorded with the caller and
        the reason. No effect if staff have revoked it already.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/certificates/{}/revoke", code),
                models.StaffCertificate,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def rotate_webhook_secret(self, endpoint_id: Id) -> models.WebhookEndpointWithSecret:
        """Rotate the signing secret.

        The new secret is only returned here. Webhooks are also signed with the old one for a day.
        """
        return await self._send(
            Request(
                "POST", path("/v1/webhook-endpoints/{}/rotate-secret", endpoint_id), models.WebhookEndpointWithSecret
            )
        )

    async def run_job_again(self, kind: Id, body: models.JobSlot, *, idempotency_key: str | None = None) -> None:
        """Run a failed period of a job again.

        A worker starts it within a minute.
        """
        await self._send(
            Request("POST", path("/v1/jobs/{}/run-again", kind), None, body=body, headers=key_header(idempotency_key))
        )

    async def save_quiz_answers(
        self, course_id: Id, lesson_id: Id, attempt: int, body: models.Answers
    ) -> models.QuizAttemptDetails:
        """Save the answers of an open quiz attempt.

        They replace what was saved before, and are graded if the time ends before a submission.
        """
        return await self._send(
            Request(
                "PUT",
                path("/v1/courses/{}/lessons/{}/attempts/{}/answers", course_id, lesson_id, attempt),
                models.QuizAttemptDetails,
                body=body,
            )
        )

    async def set_instructors(
        self, course_id: Id, body: models.InstructorsFields, *, if_match: int | Versioned
    ) -> models.Course:
        """Set the instructors of a course.

        For its owner; an editor may send the present instructors without themselves. Takes effect at once.
        Editors change and publish the course, reply to reviews and see its learners; they do not archive it
        and do not choose instructors. They need the permission `courses:write`, too.
        """
        return await self._send(
            Request(
                "PUT",
                path("/v1/courses/{}/instructors", course_id),
                models.Course,
                body=body,
                headers=version_header(if_match),
            )
        )

    async def set_prerequisites(
        self, course_id: Id, body: models.Prerequisites, *, if_match: int | Versioned
    ) -> models.Course:
        """Set the prerequisites of a course.

        Sets the courses to complete first and whether lessons are sequential. Takes effect with the next
        publish.
        """
        return await self._send(
            Request(
                "PUT",
                path("/v1/courses/{}/prerequisites", course_id),
                models.Course,
                body=body,
                headers=version_header(if_match),
            )
        )

    async def set_roles(self, user_id: Id, body: models.Roles, *, if_match: int | Versioned) -> models.Profile:
        """Set a user's roles.

        Replaces all roles. The user's next token carries the new permissions.
        """
        return await self._send(
            Request(
                "PUT", path("/v1/users/{}/roles", user_id), models.Profile, body=body, headers=version_header(if_match)
            )
        )

    async def show_review(self, course_id: Id, review_id: Id, *, idempotency_key: str | None = None) -> models.Review:
        """Show a hidden review again.

        It is listed and counted again. Idempotent.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/courses/{}/reviews/{}/show", course_id, review_id),
                models.Review,
                headers=key_header(idempotency_key),
            )
        )

    async def start_quiz_attempt(
        self, course_id: Id, lesson_id: Id, *, idempotency_key: str | None = None
    ) -> models.QuizAttemptDetails:
        """Start a quiz attempt.

        Draws and shuffles the questions and starts the time. Idempotent: an open attempt is returned again.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/courses/{}/lessons/{}/attempts/start", course_id, lesson_id),
                models.QuizAttemptDetails,
                headers=key_header(idempotency_key),
            )
        )

    async def start_upload(
        self, course_id: Id, body: models.FileFields, *, idempotency_key: str | None = None
    ) -> models.NewFile:
        """Start an upload.

        Returns a signed link. `PUT` the contents there, then complete the upload. Covers are pictures up to
        5 MB; captions are WebVTT up to 2 MB; videos are MP4 or WebM up to 4 GB; attachments are PDF,
        pictures, MP3, ZIP, texts and office documents up to 200 MB. A course has up to 100 uploads that are
        not complete.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/courses/{}/files", course_id),
                models.NewFile,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def submit_quiz_answers(
        self, course_id: Id, lesson_id: Id, attempt: int, body: models.Answers, *, idempotency_key: str | None = None
    ) -> models.QuizAttemptDetails:
        """Submit the answers of an open quiz attempt.

        Graded by the version in which the attempt was started. After the time limit it is refused with 409
        `attempt_expired`, and the saved answers are graded. A passing score completes a lesson whose
        completion rule is `min_score`.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/courses/{}/lessons/{}/attempts/{}/submission", course_id, lesson_id, attempt),
                models.QuizAttemptDetails,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def submit_quiz_attempt(
        self, course_id: Id, lesson_id: Id, body: models.Answers, *, idempotency_key: str | None = None
    ) -> models.QuizAttempt:
        """Submit a quiz attempt.

        Starts and grades an attempt in one step; an open attempt is graded instead. A quiz with a limit, a
        pool or shuffling must be started first. A passing score completes a lesson whose completion rule is
        `min_score`.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/courses/{}/lessons/{}/attempts", course_id, lesson_id),
                models.QuizAttempt,
                body=body,
                headers=key_header(idempotency_key),
            )
        )

    async def sync_checkout(self, checkout_id: Id, *, idempotency_key: str | None = None) -> models.Order:
        """Sync a checkout session.

        Fetches the payment's status from the provider. Call it when the buyer returns from the hosted
        checkout page.
        """
        return await self._send(
            Request(
                "POST", path("/v1/checkouts/{}/sync", checkout_id), models.Order, headers=key_header(idempotency_key)
            )
        )

    async def test_webhook_endpoint(
        self, endpoint_id: Id, *, idempotency_key: str | None = None
    ) -> models.WebhookTestResult:
        """Send a test webhook.

        Sends a `WEBHOOK_TEST` event at once and returns the outcome. Also works for disabled endpoints.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/webhook-endpoints/{}/test", endpoint_id),
                models.WebhookTestResult,
                headers=key_header(idempotency_key),
            )
        )

    async def unarchive_course(
        self, ref: Id, *, if_match: int | Versioned | None = None, idempotency_key: str | None = None
    ) -> models.Course:
        """Unarchive a course.

        Returns an archived course to its author as a draft, which can be changed and published again. No
        effect if it is not archived.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/courses/{}/unarchive", ref),
                models.Course,
                headers=version_header(if_match) | key_header(idempotency_key),
            )
        )

    async def unpublish_course(self, ref: Id, *, idempotency_key: str | None = None) -> models.Course:
        """Unpublish a course.

        The course is taken off sale. Enrolled learners keep their access. While it is off sale, courses of
        which it is a prerequisite are open without it.
        """
        return await self._send(
            Request("POST", path("/v1/courses/{}/unpublish", ref), models.Course, headers=key_header(idempotency_key))
        )

    async def update_bundle(
        self, bundle_id: Id, body: models.BundleChanges, *, if_match: int | Versioned
    ) -> models.Bundle:
        """Update a bundle.

        Changes its fields, or takes it off sale with `on_sale: false`.
        """
        return await self._send(
            Request(
                "PATCH", path("/v1/bundles/{}", bundle_id), models.Bundle, body=body, headers=version_header(if_match)
            )
        )

    async def update_coupon(
        self, coupon_id: Id, body: models.CouponLimits, *, if_match: int | Versioned
    ) -> models.Coupon:
        """Update a coupon.

        Changes its limits and dates; null removes one.
        """
        return await self._send(
            Request(
                "PATCH", path("/v1/coupons/{}", coupon_id), models.Coupon, body=body, headers=version_header(if_match)
            )
        )

    async def update_course(self, ref: Id, body: models.CourseChanges, *, if_match: int | Versioned) -> models.Course:
        """Update a course.

        A new price or slug takes effect at once, all other changes with the next publish. Former slugs keep
        leading to the course and are never given to another one.
        """
        return await self._send(
            Request("PATCH", path("/v1/courses/{}", ref), models.Course, body=body, headers=version_header(if_match))
        )

    async def update_lesson(
        self, course_id: Id, lesson_id: Id, body: models.LessonChanges, *, if_match: int | Versioned
    ) -> models.Lesson:
        """Update a lesson.

        A `section_id` moves the lesson to the end of that section. `If-Match` takes the ETag of the course.
        """
        return await self._send(
            Request(
                "PATCH",
                path("/v1/courses/{}/lessons/{}", course_id, lesson_id),
                models.Lesson,
                body=body,
                headers=version_header(if_match),
            )
        )

    async def update_plan(self, plan_id: Id, body: models.PlanChange, *, if_match: int | Versioned) -> models.Plan:
        """Update a plan.

        Applies to new subscriptions; existing subscribers keep their terms.
        """
        return await self._send(
            Request("PATCH", path("/v1/plans/{}", plan_id), models.Plan, body=body, headers=version_header(if_match))
        )

    async def update_position(self, course_id: Id, lesson_id: Id, body: models.PositionFields) -> models.Position:
        """Update the playback position in a lesson.

        `furthest_seconds` never decreases. A position after the end of the lesson is the end. A lesson
        whose completion rule is `viewed` is completed when 95 % of it were watched: a player reports its
        position at least every 30 seconds, or says with `from_seconds` which part was watched.
        """
        return await self._send(
            Request("PUT", path("/v1/courses/{}/lessons/{}/position", course_id, lesson_id), models.Position, body=body)
        )

    async def update_profile(self, body: models.ProfileChanges, *, if_match: int | Versioned) -> models.OwnProfile:
        """Update the caller's profile.

        Only the given fields. The e-mail address belongs to the identity provider.
        """
        return await self._send(
            Request("PATCH", path("/v1/me"), models.OwnProfile, body=body, headers=version_header(if_match))
        )

    async def update_section(
        self, course_id: Id, section_id: Id, body: models.SectionFields, *, if_match: int | Versioned
    ) -> models.Section:
        """Update a section.

        Changes its title. `If-Match` takes the ETag of the course.
        """
        return await self._send(
            Request(
                "PATCH",
                path("/v1/courses/{}/sections/{}", course_id, section_id),
                models.Section,
                body=body,
                headers=version_header(if_match),
            )
        )

    async def update_user(
        self, user_id: Id, body: models.ProfileChanges, *, if_match: int | Versioned
    ) -> models.Profile:
        """Update a user.

        Only the given fields; recorded in the audit with the state before and after.
        """
        return await self._send(
            Request("PATCH", path("/v1/users/{}", user_id), models.Profile, body=body, headers=version_header(if_match))
        )

    async def update_webhook_endpoint(
        self, endpoint_id: Id, body: models.WebhookEndpointChanges, *, if_match: int | Versioned
    ) -> models.WebhookEndpoint:
        """Update a webhook endpoint.

        Also enables or disables it.
        """
        return await self._send(
            Request(
                "PATCH",
                path("/v1/webhook-endpoints/{}", endpoint_id),
                models.WebhookEndpoint,
                body=body,
                headers=version_header(if_match),
            )
        )

    async def upgrade_own_course(self, course_id: Id, *, idempotency_key: str | None = None) -> models.CourseProgress:
        """Take the newest version of a course.

        Completed lessons that it has still count, and a finished course stays finished. Idempotent.
        """
        return await self._send(
            Request(
                "POST",
                path("/v1/me/courses/{}/upgrade", course_id),
                models.CourseProgress,
                headers=key_header(idempotency_key),
            )
        )

    async def verify_certificate(self, code: Id) -> models.PublicCertificate:
        """Verify a certificate.

        Public: the code is sufficient. Returns JSON, or by `Accept` a page or a PDF in English or Russian,
        by `Accept-Language`; 406 for any other media type. A revoked certificate has no PDF
        (`certificate_revoked`).
        """
        return await self._send(Request("GET", path("/v1/certificates/{}", code), models.PublicCertificate))
