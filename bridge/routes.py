"""The whole choreography: which event starts which handlers.

The handlers of one event run in parallel, each in the queue of its service. A service gets events of one key one at a
time.
"""

from models.events import every_event
from settings import SERVICES

_REACTIONS = {
    "USER_CREATED": ["users.fill_profile", "notifications.welcome_user"],
    "USER_UPDATED": ["users.cache_profile", "notifications.keep_contact"],
    # Rights of access and erasure: every service exports and erases its own data.
    "USER_EXPORT_REQUESTED": [f"{service}.export_data" for service in SERVICES],
    "USER_DATA_EXPORTED": ["users.gather_export"],
    "USER_DELETED": [f"{service}.erase_data" for service in SERVICES],
    "USER_DATA_ERASED": ["users.gather_receipt"],
    "COURSE_PUBLISHED": ["payments.keep_offer", "progress.keep_outline", "courses.outdate_course"],
    "COURSE_UPDATED": ["payments.change_offer", "progress.change_sale", "courses.outdate_course"],
    "COURSE_ARCHIVED": ["payments.withdraw_offer", "progress.end_sale", "courses.outdate_course"],
    "ENROLLMENT_CREATED": ["progress.start_course", "notifications.welcome_learner", "payments.note_access"],
    "ENROLLMENT_ENDED": ["notifications.leave_course", "progress.close_course"],
    "QUIZ_ATTEMPTED": ["progress.complete_passed_quiz"],
    "ORDER_CREATED": ["notifications.watch_checkout"],
    "ORDER_CANCELED": ["notifications.drop_checkout"],
    "PAYMENT_SUCCEEDED": ["notifications.send_receipt"],
    "PAYMENT_FAILED": ["notifications.report_failed_payment"],
    "PAYMENT_REFUNDED": ["courses.end_access", "notifications.report_refund"],
    "REFUND_RETURNED": ["courses.restore_access", "notifications.report_returned_refund"],
    "PAYMENT_DISPUTED": ["courses.suspend_access", "notifications.report_dispute"],
    "DISPUTE_CLOSED": ["courses.settle_access", "notifications.report_dispute_end"],
    "COURSE_PURCHASED": ["courses.grant_access"],
    "SUBSCRIPTION_STARTED": ["courses.admit_subscriber", "notifications.welcome_subscriber"],
    "SUBSCRIPTION_PAST_DUE": ["notifications.report_past_due"],
    "SUBSCRIPTION_TRIAL_ENDING": ["notifications.announce_trial_end"],
    "SUBSCRIPTION_CANCELED": ["notifications.confirm_notice"],
    "SUBSCRIPTION_EXPIRED": ["courses.dismiss_subscriber", "notifications.report_subscription_end"],
    "SUBSCRIPTION_RESTORED": ["courses.readmit_subscriber", "notifications.report_restored_subscription"],
    "LESSON_COMPLETED": ["courses.count_completion", "notifications.congratulate_on_lesson"],
    "LESSON_REOPENED": ["courses.count_reopening"],
    "COURSE_COMPLETED": ["notifications.congratulate_on_course"],
    "CERTIFICATE_ISSUED": ["notifications.send_certificate"],
}

# Integrators receive every event, by the event feed and by webhooks.
ROUTES = {event.type: [*_REACTIONS.get(event.type, []), "integrations.keep_event"] for event in every_event()}
