"""The whole choreography: which services publish an event and which handlers it starts.

The handlers of one event run in parallel, each in the queue of its service. A service gets events of one key one at a
time.
"""

from settings import SERVICES

from . import SHARED_TOPIC, Event, all_event_types

_HANDLERS_BY_EVENT = {
    "USER_CREATED": ["users.initialize_profile", "notifications.send_welcome"],
    "USER_UPDATED": ["users.refresh_profile_cache", "notifications.update_contact", "courses.update_address"],
    # Rights of access and erasure: every service exports and erases its own data.
    "USER_EXPORT_REQUESTED": [f"{service}.export_data" for service in SERVICES],
    "USER_DATA_EXPORTED": ["users.record_service_export"],
    "USER_DELETED": [f"{service}.erase_data" for service in SERVICES],
    "USER_DATA_ERASED": ["users.record_service_erasure"],
    "COURSE_PUBLISHED": ["payments.upsert_offer", "progress.upsert_outline", "courses.invalidate_course_cache"],
    "COURSE_UPDATED": ["payments.update_offer", "progress.change_sale", "courses.invalidate_course_cache"],
    "COURSE_ARCHIVED": ["payments.withdraw_offer", "progress.end_sale", "courses.invalidate_course_cache"],
    "ENROLLMENT_CREATED": [
        "progress.start_course",
        "notifications.send_enrollment_confirmation",
        "payments.record_access_granted",
    ],
    "ACCESS_END_CHANGED": ["progress.change_access_end"],
    "ACCESS_ENDING": ["notifications.send_access_ending"],
    "ENROLLMENT_ENDED": ["notifications.on_enrollment_ended", "progress.close_course_progress"],
    "QUIZ_ATTEMPTED": ["progress.complete_quiz_lesson"],
    "ORDER_CREATED": ["notifications.start_checkout_reminder"],
    "ORDER_CANCELED": ["notifications.cancel_checkout_reminder"],
    "PAYMENT_SUCCEEDED": ["notifications.send_receipt"],
    "PAYMENT_FAILED": ["notifications.send_payment_failed"],
    "PAYMENT_REFUNDED": ["courses.revoke_access_on_refund", "notifications.send_refund_confirmation"],
    "REFUND_REVERSED": ["courses.restore_access", "notifications.send_refund_reversed"],
    "DISPUTE_OPENED": ["courses.suspend_access", "notifications.send_dispute_opened"],
    "DISPUTE_CLOSED": ["courses.apply_dispute_outcome", "notifications.send_dispute_closed"],
    "COURSE_PURCHASED": ["courses.grant_access"],
    "SUBSCRIPTION_STARTED": ["courses.grant_subscription_access", "notifications.send_subscription_started"],
    "SUBSCRIPTION_PAST_DUE": ["notifications.send_past_due"],
    "SUBSCRIPTION_TRIAL_ENDING": ["notifications.send_trial_ending"],
    "SUBSCRIPTION_CANCELED": ["notifications.send_cancellation_confirmation"],
    "SUBSCRIPTION_EXPIRED": ["courses.revoke_subscription_access", "notifications.send_subscription_ended"],
    "SUBSCRIPTION_RESTORED": ["courses.restore_subscription_access", "notifications.send_subscription_restored"],
    "LESSON_COMPLETED": ["courses.update_progress_on_completion", "notifications.send_lesson_completed"],
    "LESSON_REOPENED": ["courses.update_progress_on_reopen"],
    "LESSON_UNLOCKED": ["notifications.send_lesson_unlocked"],
    "COURSE_VERSION_CHANGED": ["courses.change_enrolled_version_by_event"],
    "COURSE_COMPLETED": ["notifications.send_course_completed"],
    "COURSE_ANNOUNCED": ["notifications.send_announcement"],
    "CERTIFICATE_ISSUED": ["users.record_certificate_holder", "notifications.send_certificate"],
    "CERTIFICATE_REVOKED": ["notifications.send_certificate_revoked"],
    "CERTIFICATE_REINSTATED": ["notifications.send_certificate_reinstated"],
}

# Integrators receive every event, by the event feed and by webhooks.
ROUTES = {
    event.type: [*_HANDLERS_BY_EVENT.get(event.type, []), "integrations.append_event_to_log"]
    for event in all_event_types()
}


def producers_of(type_: str) -> tuple[str, ...]:
    """Return the services that publish events of ``type_``, each on its own topic."""
    topic = Event.by_type[type_].topic
    return SERVICES if topic == SHARED_TOPIC else (topic,)
