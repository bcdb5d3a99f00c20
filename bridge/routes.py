"""The whole choreography: which event starts which tasks.

The tasks of one event run in parallel, each through the queue of its service; events of one key reach a service one
after another.
"""

ROUTES = {
    "USER_CREATED": ["users.fill_profile", "notifications.welcome_user"],
    "USER_UPDATED": ["users.cache_profile", "notifications.keep_contact"],
    "COURSE_PUBLISHED": ["payments.keep_offer", "progress.keep_outline"],
    "ENROLLMENT_CREATED": ["progress.start_course", "notifications.welcome_learner"],
    "PAYMENT_SUCCEEDED": ["notifications.send_receipt"],
    "PAYMENT_FAILED": ["notifications.report_failed_payment"],
    "COURSE_PURCHASED": ["courses.grant_access"],
    "LESSON_COMPLETED": ["courses.count_completion", "notifications.congratulate_on_lesson"],
    "COURSE_COMPLETED": ["notifications.congratulate_on_course"],
}
