"""The periodic jobs of every service with their periods. Beat triggers them without importing the services' tasks."""

import settings

_OF_EVERY_SERVICE = {
    "prune_bus": 3600,
    "sweep_operations": 10,
}
PERIODS_SECONDS = {
    "courses.delete_unused_files": 3600,
    "courses.expire_quiz_attempts": 15,  # the result of an attempt may be this late
    "courses.run_enrollment_batches": 5,
    "courses.send_announcements": 10,
    "courses.sweep_access_ends": 15,  # the events about an end may be this late; access itself is not
    "courses.warm_popular_courses": 300,
    "integrations.count_events": 10,
    "integrations.prune_event_log": 3600,
    "integrations.sweep_webhooks": 5,  # a retry, or the delivery of a dead worker, may start this much late
    "notifications.enqueue_due_reminders": 600,
    "notifications.prune_reminders": 86400,
    "notifications.sweep_deliveries": 15,
    "payments.expire_orders": 600,
    "payments.fetch_undelivered_events": 3600,
    "payments.forget_customers": 60,
    "payments.number_invoices": 60,
    "payments.process_due_subscriptions": 10,
    "payments.prune_payments": 3600,
    "payments.reconcile_recent_days": 3600,
    "payments.retry_pending_provider_events": 15,
    "payments.sync_attempts": 60,
    "payments.sync_refunds": 60,
    "progress.move_learners": 10,
    "progress.publish_unlocked_lessons": 10,  # LESSON_UNLOCKED may be this late
    "users.prune_audit_log": 86400,
    "users.prune_erased_subs": 3600,
    "users.sweep_identity_changes": 15,
    **{f"{service}.{name}": period for service in settings.SERVICES for name, period in _OF_EVERY_SERVICE.items()},
}
