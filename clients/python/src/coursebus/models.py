"""Types of the requests, responses and events of the API. Generated: make client."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import UNSET, Struct, UnsetType, field


class FieldError(Struct, kw_only=True):
    detail: str
    pointer: str | UnsetType = UNSET
    parameter: str | UnsetType = UNSET


class ProblemDetails(Struct, kw_only=True):
    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    errors: list[FieldError] | UnsetType = UNSET


class Announcement(Struct, kw_only=True):
    id: str
    course_id: str
    author_id: str
    subject: str
    body: str
    status: str
    recipients_total: int
    recipients_done: int
    created_at: str
    finished_at: str | None


class AnnouncementPage(Struct, kw_only=True):
    items: list[Announcement]
    next_cursor: str | None


class AnnouncementFields(Struct, kw_only=True):
    subject: str
    body: str


class Money(Struct, kw_only=True):
    amount_minor: int
    currency: str


class Rating(Struct, kw_only=True):
    average: float | None
    count: int


class CourseItem(Struct, kw_only=True):
    id: str
    slug: str
    title: str
    summary: str
    category: str
    level: str
    language: str
    tags: list[str]
    cover_url: str | None
    price: Money
    instructor_id: str
    lessons_total: int
    duration_seconds: int
    learners: int
    rating: Rating
    published_at: str


class Facet(Struct, kw_only=True):
    value: str
    count: int


class Facets(Struct, kw_only=True):
    category: list[Facet]
    level: list[Facet]
    language: list[Facet]
    price: list[Facet]


class CoursesPage(Struct, kw_only=True):
    items: list[CourseItem]
    next_cursor: str | None
    facets: Facets | UnsetType = UNSET
    total: int | UnsetType = UNSET


class Unlock(Struct, kw_only=True):
    after_days: int | UnsetType = UNSET
    at: str | UnsetType = UNSET


class OwnCourseItem(Struct, kw_only=True):
    id: str
    slug: str
    status: str
    title: str
    summary: str
    category: str
    level: str
    language: str
    tags: list[str]
    cover_url: str | None
    price: Money
    instructor_id: str
    created_at: str
    published_at: str | None
    version: int


class OwnCourseItemPage(Struct, kw_only=True):
    items: list[OwnCourseItem]
    next_cursor: str | None


class LearnersByProgress(Struct, kw_only=True):
    not_started: int
    in_progress: int
    completed: int


class PublicationError(Struct, kw_only=True):
    pointer: str
    detail: str


class PublicationPreview(Struct, kw_only=True):
    course_version: int
    lessons_added: int
    lessons_removed: int
    learners: LearnersByProgress
    errors: list[PublicationError]


class Copy(Struct, kw_only=True):
    title: str | None | UnsetType = UNSET


class Option(Struct, kw_only=True):
    id: str
    text: str


class QuizPool(Struct, kw_only=True):
    id: str
    draw: int


class EnrollmentBatch(Struct, kw_only=True):
    id: str
    course_id: str
    author_id: str
    action: str
    ends_at: str | None
    rows_total: int
    rows_done: int
    counts: dict[str, int]
    created_at: str
    finished_at: str | None


class EnrollmentBatchPage(Struct, kw_only=True):
    items: list[EnrollmentBatch]
    next_cursor: str | None


class Problem(Struct, kw_only=True):
    type: str
    title: str
    status: int
    detail: str
    code: str


class Operation(Struct, kw_only=True):
    id: str
    kind: str
    status: str
    result: Any
    error: Problem | None
    created_at: str
    finished_at: str | None


class EnrollmentBatchRow(Struct, kw_only=True):
    line: int
    email: str | None
    result: str


class EnrollmentBatchRowPage(Struct, kw_only=True):
    items: list[EnrollmentBatchRow]
    next_cursor: str | None


class Enroll(Struct, kw_only=True):
    user_id: str | UnsetType = UNSET


class Enrollment(Struct, kw_only=True):
    course_id: str
    status: str
    enrolled_at: str
    expires_at: str | None
    progress_percent: int


class EnrollmentPage(Struct, kw_only=True):
    items: list[Enrollment]
    next_cursor: str | None


class Grant(Struct, kw_only=True):
    source: str
    source_id: str
    status: str
    starts_at: str
    ends_at: str | None
    reason: str | None


class Access(Struct, kw_only=True):
    access: bool
    grants: list[Grant]
    reason: str


class File(Struct, kw_only=True):
    id: str
    kind: str
    name: str
    content_type: str
    size_bytes: int
    status: str
    created_at: str


class FilePage(Struct, kw_only=True):
    items: list[File]
    next_cursor: str | None


class Upload(Struct, kw_only=True):
    method: str
    url: str
    headers: dict[str, str]
    content_type: str
    expires_at: str


class NewFile(Struct, kw_only=True):
    id: str
    kind: str
    name: str
    content_type: str
    size_bytes: int
    status: str
    created_at: str
    upload: Upload


class Instructors(Struct, kw_only=True):
    owner_id: str
    editor_ids: list[str]


class InstructorsFields(Struct, kw_only=True):
    editor_ids: list[str]
    owner_id: str | None | UnsetType = UNSET


class Instructor(Struct, kw_only=True):
    id: str
    name: str | None
    avatar_url: str | None
    bio: str | None


class LearnerAccess(Struct, kw_only=True):
    enrolled_at: str
    ends_at: str | None


class CourseProgress(Struct, kw_only=True):
    course_id: str
    status: str
    percent: int
    lessons_completed: int
    lessons_total: int
    next_lesson_id: str | None
    last_lesson_id: str | None
    started_at: str
    completed_at: str | None
    version: int


class LearnerCourseItem(Struct, kw_only=True):
    course_id: str
    slug: str
    title: str
    summary: str
    cover_url: str | None
    on_sale: bool
    course_version: int
    latest_version: int
    lessons_total: int
    duration_seconds: int
    status: str
    access: LearnerAccess
    progress: CourseProgress | None


class LearnerCourseItemPage(Struct, kw_only=True):
    items: list[LearnerCourseItem]
    next_cursor: str | None


class LearnerCertificate(Struct, kw_only=True):
    code: str
    issued_at: str


class LearnerSchedule(Struct, kw_only=True):
    shift_days: int
    reason: str
    changed_at: str


class PlannedSection(Struct, kw_only=True):
    lessons: list[str]
    id: str | UnsetType = UNSET
    title: str | UnsetType = UNSET


class Outline(Struct, kw_only=True):
    sections: list[PlannedSection]


class SectionFields(Struct, kw_only=True):
    title: str


class QuizQuestion(Struct, kw_only=True):
    id: str
    text: str
    multiple: bool
    kind: str | UnsetType = UNSET
    options: list[Option] | UnsetType = UNSET
    partial_credit: bool | UnsetType = UNSET
    points: int | UnsetType = UNSET
    correct: list[str] | UnsetType = UNSET
    tolerance: str | UnsetType = UNSET
    explanation: str | UnsetType = UNSET
    pool: str | UnsetType = UNSET


class ShownQuizSettings(Struct, kw_only=True):
    attempts_max: int | None | UnsetType = UNSET
    time_limit_seconds: int | None | UnsetType = UNSET
    shuffle_questions: bool | UnsetType = UNSET
    shuffle_options: bool | UnsetType = UNSET
    show_answers: str | UnsetType = UNSET
    pools: list[QuizPool] | UnsetType = UNSET


class LessonContent(Struct, kw_only=True):
    url: str | UnsetType = UNSET
    file_id: str | UnsetType = UNSET
    body: str | UnsetType = UNSET
    questions: list[QuizQuestion] | UnsetType = UNSET
    settings: ShownQuizSettings | UnsetType = UNSET


class LessonFileLink(Struct, kw_only=True):
    file_id: str
    role: str
    language: str | UnsetType = UNSET
    label: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    content_type: str | UnsetType = UNSET
    size_bytes: int | UnsetType = UNSET
    url: str | UnsetType = UNSET
    url_expires_at: str | UnsetType = UNSET


class PreviewAttemptFields(Struct, kw_only=True):
    seed: int | UnsetType = UNSET
    answers: dict[str, list[str]] | UnsetType = UNSET


class QuestionResult(Struct, kw_only=True):
    points: float
    correct: list[str]
    tolerance: str | None
    explanation: str | None


class AttemptQuestion(Struct, kw_only=True):
    id: str
    kind: str
    text: str
    multiple: bool
    points: int
    options: list[Option] | UnsetType = UNSET
    partial_credit: bool | UnsetType = UNSET
    result: QuestionResult | UnsetType = UNSET


class PreviewAttempt(Struct, kw_only=True):
    seed: int
    time_limit_seconds: int | None
    pass_percent: int
    points_total: int
    points: float | None
    score_percent: int | None
    passed: bool | None
    questions: list[AttemptQuestion]


class QuizState(Struct, kw_only=True):
    course_version: int
    start_required: bool
    questions_total: int
    pass_percent: int
    time_limit_seconds: int | None
    show_answers: str
    attempts_max: int | None
    attempts_used: int
    attempts_left: int | None
    open_attempt: int | None
    best_score_percent: int | None
    passed: bool


class OwnQuizAttempt(Struct, kw_only=True):
    attempt: int
    status: str
    started_at: str
    expires_at: str | None
    attempted_at: str | None
    score_percent: int | None
    passed: bool | None
    answers: dict[str, list[str]]


class OwnQuizAttemptPage(Struct, kw_only=True):
    items: list[OwnQuizAttempt]
    next_cursor: str | None


class Answers(Struct, kw_only=True):
    answers: dict[str, list[str]]


class QuizAttempt(Struct, kw_only=True):
    attempt: int
    score_percent: int
    passed: bool
    attempted_at: str


class QuizAttemptDetails(Struct, kw_only=True):
    attempt: int
    status: str
    started_at: str
    expires_at: str | None
    attempted_at: str | None
    score_percent: int | None
    passed: bool | None
    answers: dict[str, list[str]]
    course_version: int | None
    seconds_left: int | None
    points: float | None
    points_total: int | None
    attempts_left: int | None
    answers_shown: bool
    questions: list[AttemptQuestion]


class ExtraAttemptsFields(Struct, kw_only=True):
    user_id: str
    attempts: int | UnsetType = 1


class ExtraAttempts(Struct, kw_only=True):
    user_id: str
    lesson_id: str
    extra_attempts: int
    attempts_max: int | None
    attempts_used: int
    attempts_left: int | None


class Reply(Struct, kw_only=True):
    text: str
    replied_at: str


class Hidden(Struct, kw_only=True):
    reason: str
    hidden_at: str


class Review(Struct, kw_only=True):
    id: str
    rating: int
    text: str
    created_at: str
    updated_at: str
    reply: Reply | None
    hidden: Hidden | None


class ReviewPage(Struct, kw_only=True):
    items: list[Review]
    next_cursor: str | None


class ReviewFields(Struct, kw_only=True):
    rating: int
    text: str | UnsetType = UNSET


class ReplyFields(Struct, kw_only=True):
    text: str


class Moderation(Struct, kw_only=True):
    reason: str


class ScheduledLesson(Struct, kw_only=True):
    lesson_id: str
    opens_at: str


class Schedule(Struct, kw_only=True):
    version: int
    shift_days: int
    lessons: list[ScheduledLesson]
    reason: str | None
    changed_at: str | None


class ScheduledLessonFields(Struct, kw_only=True):
    lesson_id: str
    opens_at: str


class ScheduleFields(Struct, kw_only=True):
    reason: str
    shift_days: int | UnsetType = 0
    lessons: list[ScheduledLessonFields] | UnsetType = UNSET


class CourseVersion(Struct, kw_only=True):
    course_version: int
    title: str
    summary: str
    category: str
    level: str
    language: str
    tags: list[str]
    cover_url: str | None
    lessons_total: int
    duration_seconds: int
    published_at: str
    on_sale: bool


class CourseVersionPage(Struct, kw_only=True):
    items: list[CourseVersion]
    next_cursor: str | None


class CoursePrerequisites(Struct, kw_only=True):
    course_ids: list[str]
    sequential: bool


class Prerequisites(Struct, kw_only=True):
    course_ids: list[str]
    sequential: bool | UnsetType = UNSET


class Profile(Struct, kw_only=True):
    id: str
    email: str | None
    email_verified: bool
    name: str | None
    locale: str
    timezone: str
    avatar_url: str | None
    roles: list[str]
    created_at: str
    version: int
    bio: str | None | UnsetType = UNSET


class EnrolledCourse(Struct, kw_only=True):
    course_id: str
    status: str
    enrolled_at: str
    expires_at: str | None
    progress_percent: int
    progress: CourseProgress | None


class PlanSubscription(Struct, kw_only=True):
    id: str
    status: str
    plan_id: str
    plan_name: str
    price: Money
    interval: str
    provider: str
    course_ids: list[str]
    period_start: str
    period_end: str
    cancel_at_period_end: bool
    ends_at: str | None
    problem: str | None
    created_at: str
    ended_at: str | None
    version: int


class Dashboard(Struct, kw_only=True):
    profile: Profile | None
    enrollments: list[EnrolledCourse] | None
    unread_count: int | None
    subscriptions: list[PlanSubscription] | None
    partial: list[str]


class Liveness(Struct, kw_only=True):
    status: Literal["alive"]
    version: str


class Readiness(Struct, kw_only=True):
    status: str
    servers: dict[str, str]


class ChangedRow(Struct, kw_only=True):
    table: str
    id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class AuditEntry(Struct, kw_only=True):
    id: str
    kind: str
    actor: str
    command: str
    subject: dict[str, str]
    changes: list[ChangedRow]
    request_id: str | None
    done_at: str


class AuditEntryPage(Struct, kw_only=True):
    items: list[AuditEntry]
    next_cursor: str | None


class DeadLetter(Struct, kw_only=True):
    id: str
    handler: str
    event_id: str
    event_type: str
    key: str
    status: str
    reason: str
    created_at: str
    closed_at: str | None


class DeadLetterPage(Struct, kw_only=True):
    items: list[DeadLetter]
    next_cursor: str | None


class FailedReplay(Struct, kw_only=True):
    id: str
    error: str


class DeadLetterReplayResult(Struct, kw_only=True):
    replayed: list[str]
    failed: FailedReplay | None
    remaining: int


class WebhookEndpoint(Struct, kw_only=True):
    id: str
    url: str
    description: str
    event_types: list[str]
    enabled: bool
    disabled_reason: str | None
    disabled_at: str | None
    failures: int
    failing_since: str | None
    previous_secret_until: str | None
    created_at: str
    version: int


class WebhookEndpointPage(Struct, kw_only=True):
    items: list[WebhookEndpoint]
    next_cursor: str | None


class WebhookEndpointFields(Struct, kw_only=True):
    url: str
    description: str | UnsetType = UNSET
    event_types: list[str] | UnsetType = UNSET


class WebhookEndpointWithSecret(Struct, kw_only=True):
    id: str
    url: str
    description: str
    event_types: list[str]
    enabled: bool
    disabled_reason: str | None
    disabled_at: str | None
    failures: int
    failing_since: str | None
    previous_secret_until: str | None
    created_at: str
    version: int
    secret: str


class WebhookEndpointChanges(Struct, kw_only=True):
    url: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    event_types: list[str] | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class WebhookTestResult(Struct, kw_only=True):
    webhook_id: str
    delivered: bool
    status_code: int | None
    error: str | None
    duration_ms: int


class ReplayRequest(Struct, kw_only=True):
    since: str
    until: str | UnsetType = UNSET
    all_events: bool | UnsetType = False


class ReplayScheduled(Struct, kw_only=True):
    scheduled: int


class WebhookDelivery(Struct, kw_only=True):
    id: str
    event_id: str
    event_type: str
    status: str
    attempts: int
    next_attempt_at: str | None
    status_code: int | None
    error: str | None
    duration_ms: int | None
    created_at: str
    attempted_at: str | None
    ended_at: str | None


class WebhookDeliveryPage(Struct, kw_only=True):
    items: list[WebhookDelivery]
    next_cursor: str | None


class Job(Struct, kw_only=True):
    kind: str
    last_slot: str
    last_success_at: str | None
    attempts: int
    failed_slots: list[str]
    last_error: str | None


class Jobs(Struct, kw_only=True):
    jobs: list[Job]


class JobSlot(Struct, kw_only=True):
    slot: str


class QuarantinedEvent(Struct, kw_only=True):
    id: str
    event_id: str
    event_type: str
    key: str
    reason: str
    parked: int
    created_at: str
    failed_at: str


class QuarantinedEventPage(Struct, kw_only=True):
    items: list[QuarantinedEvent]
    next_cursor: str | None


class Released(Struct, kw_only=True):
    released: int


class TracedRequest(Struct, kw_only=True):
    request_id: str
    event_types: list[str]
    first_event_at: str


class TracedRequestPage(Struct, kw_only=True):
    items: list[TracedRequest]
    next_cursor: str | None


class TracedHandler(Struct, kw_only=True):
    handler: str
    state: str
    at: str | None
    attempts: int | None
    dead_letter_id: str | None
    reason: str | None


class TracedEvent(Struct, kw_only=True):
    id: str
    type: str
    service: str
    key: str
    version: int
    task: str | None
    actor: str | None
    caused_by: str | None
    queued_at: str | None
    recorded_at: str
    published_at: str | None
    quarantined_at: str | None
    quarantine_reason: str | None
    handlers: list[TracedHandler]


class RequestTrace(Struct, kw_only=True):
    request_id: str
    events: list[TracedEvent]
    truncated: bool


class ServiceStatus(Struct, kw_only=True):
    service: str
    responds: bool
    queued_messages: int
    oldest_message_seconds: float
    unpublished_events: int | None
    oldest_unpublished_at: str | None
    quarantined_events: int | None
    dead_letters: int | None
    failed_jobs: list[str] | None
    worker_clock: str | None
    database_clock: str | None


class Status(Struct, kw_only=True):
    gateway_clock: str
    services: list[ServiceStatus]


class Revenue(Struct, kw_only=True):
    currency: str
    sales: int
    sales_minor: int
    refunds_minor: int
    revenue_minor: int


class CourseDay(Struct, kw_only=True):
    day: str
    enrollments: int
    active_learners: int
    lessons_completed: int
    completions: int
    ratings: int
    revenue: list[Revenue]


class LessonStatistics(Struct, kw_only=True):
    lesson_id: str
    title: str
    completed: int
    completed_percent: int
    quiz_attempts: int
    quiz_passed: int
    quiz_average_percent: int | None


class CourseStatistics(Struct, kw_only=True):
    course_id: str
    enrollments: int
    completions: int
    completion_percent: int
    average_completion_days: float | None
    ratings: int
    rating_average: float | None
    revenue: list[Revenue]
    days: list[CourseDay]
    lessons: list[LessonStatistics]


class ShopDay(Struct, kw_only=True):
    day: str
    enrollments: int
    completions: int
    revenue: list[Revenue]


class ShopStatistics(Struct, kw_only=True):
    revenue: list[Revenue]
    days: list[ShopDay]


class Device(Struct, kw_only=True):
    id: str
    kind: str
    created_at: str


class Devices(Struct, kw_only=True):
    items: list[Device]
    next_cursor: str | None
    web_push_key: str | None


class WebPushKeys(Struct, kw_only=True):
    p256dh: str
    auth: str


class WebPushSubscription(Struct, kw_only=True):
    endpoint: str
    keys: WebPushKeys
    expiration_time: int | None | UnsetType = field(name="expirationTime", default=UNSET)


class WebhookReceived(Struct, kw_only=True):
    received: bool


class UnreadCount(Struct, kw_only=True):
    unread: int


class Channels(Struct, kw_only=True):
    email: bool | UnsetType = True
    push: bool | UnsetType = True
    in_app: bool | UnsetType = True


class Categories(Struct, kw_only=True):
    account: Channels | UnsetType = UNSET
    courses: Channels | UnsetType = UNSET
    announcements: Channels | UnsetType = UNSET
    progress: Channels | UnsetType = UNSET
    reminders: Channels | UnsetType = UNSET
    receipts: Channels | UnsetType = UNSET
    security: Channels | UnsetType = UNSET


class QuietHours(Struct, kw_only=True):
    from_: str = field(name="from")
    to: str


class VersionedPreferences(Struct, kw_only=True):
    categories: Categories
    quiet_hours: QuietHours | None
    digest: Literal["off"]
    version: int


class Preferences(Struct, kw_only=True):
    categories: Categories
    quiet_hours: QuietHours | None | UnsetType = UNSET
    digest: Literal["off"] | UnsetType = "off"


class StreamTicket(Struct, kw_only=True):
    ticket: str
    url: str
    expires_at: str


class Unsubscription(Struct, kw_only=True):
    category: str
    subscribed: bool


class OperationPage(Struct, kw_only=True):
    items: list[Operation]
    next_cursor: str | None


class OrderedCourse(Struct, kw_only=True):
    course_id: str
    title: str


class Order(Struct, kw_only=True):
    id: str
    status: str
    course_id: str | None
    bundle_id: str | None
    subscription_id: str | None
    course_title: str
    courses: list[OrderedCourse]
    amount_minor: int
    coupon: str | None
    discount_minor: int
    currency: str
    refund_pending_minor: int
    refunded_minor: int
    disputed_minor: int
    created_at: str
    paid_at: str | None
    version: int


class OrderPage(Struct, kw_only=True):
    items: list[Order]
    next_cursor: str | None


class OrderHistoryEntry(Struct, kw_only=True):
    step: str
    payment_id: str | None
    provider: str | None
    detail: str | None
    at: str


class OrderHistoryEntryPage(Struct, kw_only=True):
    items: list[OrderHistoryEntry]
    next_cursor: str | None


class Checkout(Struct, kw_only=True):
    id: str
    order_id: str | None
    status: str
    amount_minor: int
    currency: str
    redirect_url: str | None
    expires_at: str | None


class PlanSubscriptionPage(Struct, kw_only=True):
    items: list[PlanSubscription]
    next_cursor: str | None


class Bundle(Struct, kw_only=True):
    id: str
    title: str
    price: Money
    course_ids: list[str]
    on_sale: bool
    version: int


class BundlePage(Struct, kw_only=True):
    items: list[Bundle]
    next_cursor: str | None


class Price(Struct, kw_only=True):
    amount_minor: int
    currency: str


class BundleRequest(Struct, kw_only=True):
    title: str
    price: Price
    course_ids: list[str]


class BundleChanges(Struct, kw_only=True):
    title: str | UnsetType = UNSET
    price: Price | UnsetType = UNSET
    course_ids: list[str] | UnsetType = UNSET
    on_sale: bool | UnsetType = UNSET


class Coupon(Struct, kw_only=True):
    id: str
    code: str
    kind: str
    value: int
    currency: str | None
    max_redemptions: int | None
    max_per_user: int | None
    starts_at: str | None
    ends_at: str | None
    course_ids: list[str] | None
    redeemed: int
    created_at: str
    version: int


class CouponPage(Struct, kw_only=True):
    items: list[Coupon]
    next_cursor: str | None


class CouponLimits(Struct, kw_only=True):
    max_redemptions: int | None | UnsetType = UNSET
    max_per_user: int | None | UnsetType = UNSET
    starts_at: str | None | UnsetType = UNSET
    ends_at: str | None | UnsetType = UNSET
    course_ids: list[str] | None | UnsetType = UNSET


class Dispute(Struct, kw_only=True):
    id: str
    order_id: str
    payment_id: str
    provider_id: str
    status: str
    amount_minor: int
    currency: str
    reason: str
    problem: str | None
    respond_by: str | None
    opened_at: str
    closed_at: str | None


class DisputePage(Struct, kw_only=True):
    items: list[Dispute]
    next_cursor: str | None


class Buyer(Struct, kw_only=True):
    name: str | None
    company: str | None
    address: str | None
    tax_id: str | None


class InvoiceLine(Struct, kw_only=True):
    title: str
    amount_minor: int
    amount: str


class CreditNote(Struct, kw_only=True):
    total_minor: int
    total: str
    tax_minor: int
    tax: str
    net_minor: int
    net: str
    number: str
    refund_id: str
    issued_at: str
    voided_at: str | None


class Invoice(Struct, kw_only=True):
    total_minor: int
    total: str
    tax_minor: int
    tax: str
    net_minor: int
    net: str
    number: str
    order_id: str
    seller: str
    seller_address: str | None
    seller_tax_id: str | None
    buyer: Buyer
    issued_at: str
    paid_at: str
    lines: list[InvoiceLine]
    coupon: str | None
    discount_minor: int
    discount: str
    tax_name: str | None
    tax_basis_points: int
    refunded_minor: int
    refunded: str
    credit_notes: list[CreditNote]
    currency: str


class BillingDetails(Struct, kw_only=True):
    name: str | None
    company: str | None
    address: str | None
    tax_id: str | None
    version: int


class BillingDetailsFields(Struct, kw_only=True):
    name: str | None | UnsetType = UNSET
    company: str | None | UnsetType = UNSET
    address: str | None | UnsetType = UNSET
    tax_id: str | None | UnsetType = UNSET


class LedgerAccount(Struct, kw_only=True):
    account: str
    currency: str
    balance_minor: int


class LedgerAccountPage(Struct, kw_only=True):
    items: list[LedgerAccount]
    next_cursor: str | None


class LedgerEntry(Struct, kw_only=True):
    id: str
    transaction_id: str
    kind: str
    order_id: str
    source_id: str
    account: str
    amount_minor: int
    currency: str
    recorded_at: str


class LedgerEntryPage(Struct, kw_only=True):
    items: list[LedgerEntry]
    next_cursor: str | None


class Mismatch(Struct, kw_only=True):
    object_id: str
    provider_minor: int
    ledger_minor: int


class Reconciliation(Struct, kw_only=True):
    id: str
    provider: str
    account: str
    since: str
    until: str
    kind: str
    currency: str
    provider_minor: int
    ledger_minor: int
    differing: list[Mismatch]
    compared_at: str


class ReconciliationPage(Struct, kw_only=True):
    items: list[Reconciliation]
    next_cursor: str | None


class Plan(Struct, kw_only=True):
    id: str
    name: str
    price: Money
    interval: str
    trial_days: int
    course_ids: list[str]
    on_sale: bool
    version: int


class PlanPage(Struct, kw_only=True):
    items: list[Plan]
    next_cursor: str | None


class PlanPrice(Struct, kw_only=True):
    amount_minor: int
    currency: str


class PlanChange(Struct, kw_only=True):
    name: str | UnsetType = UNSET
    trial_days: int | UnsetType = UNSET
    on_sale: bool | UnsetType = UNSET


class Refund(Struct, kw_only=True):
    id: str
    order_id: str
    payment_id: str
    status: str
    amount_minor: int
    currency: str
    reason: str
    keeps_access: bool
    problem: str | None
    owed_since: str | None
    created_at: str
    finished_at: str | None


class RefundPage(Struct, kw_only=True):
    items: list[Refund]
    next_cursor: str | None


class RefundRequest(Struct, kw_only=True):
    reason: str
    amount_minor: int | None | UnsetType = UNSET
    payment_id: str | None | UnsetType = UNSET
    keeps_access: bool | UnsetType = False


class Payment(Struct, kw_only=True):
    id: str
    order_id: str
    status: str
    provider: str
    provider_id: str | None
    amount_minor: int
    currency: str
    captured_minor: int
    captured_currency: str
    refund_pending_minor: int
    refunded_minor: int
    disputed_minor: int
    charged_back_minor: int
    refundable_minor: int
    problem: str | None
    created_at: str


class PaymentPage(Struct, kw_only=True):
    items: list[Payment]
    next_cursor: str | None


class Resolution(Struct, kw_only=True):
    action: str
    note: str
    actor: str
    resolved_at: str


class PaymentDetails(Struct, kw_only=True):
    id: str
    order_id: str
    status: str
    provider: str
    provider_id: str | None
    amount_minor: int
    currency: str
    captured_minor: int
    captured_currency: str
    refund_pending_minor: int
    refunded_minor: int
    disputed_minor: int
    charged_back_minor: int
    refundable_minor: int
    problem: str | None
    created_at: str
    resolutions: list[Resolution]


class AccessReason(Struct, kw_only=True):
    kind: str
    state: str
    gives_access: bool
    detail: str
    problem: str | None
    since: str | None
    until: str | None
    order_id: str | None
    subscription_id: str | None
    granted_by: str | None


class UserAccess(Struct, kw_only=True):
    user_id: str
    course_id: str
    access: bool
    since: str | None
    until: str | None
    reasons: list[AccessReason]


class AccessGrant(Struct, kw_only=True):
    course_id: str
    ends_at: str | None | UnsetType = UNSET


class AccessChange(Struct, kw_only=True):
    course_id: str


class LearnerGrant(Struct, kw_only=True):
    source: str
    source_id: str
    status: str
    starts_at: str
    ends_at: str | None
    reason: str | None
    state: str


class CourseLearner(Struct, kw_only=True):
    course_id: str
    status: str
    enrolled_at: str
    expires_at: str | None
    progress_percent: int
    user_id: str
    lessons_completed: int
    version: int
    grants: list[LearnerGrant]


class AccessEnd(Struct, kw_only=True):
    ends_at: str | None


class Learner(Struct, kw_only=True):
    course_id: str
    status: str
    enrolled_at: str
    expires_at: str | None
    progress_percent: int
    user_id: str
    name: str | None
    email: str | None
    lessons_completed: int


class LearnerPage(Struct, kw_only=True):
    items: list[Learner]
    next_cursor: str | None


class DevicePage(Struct, kw_only=True):
    items: list[Device]
    next_cursor: str | None


class Certificate(Struct, kw_only=True):
    code: str
    course_id: str
    course_title: str
    issued_at: str
    expires_at: str | None
    status: str
    revoked_at: str | None


class CertificatePage(Struct, kw_only=True):
    items: list[Certificate]
    next_cursor: str | None


class StaffCertificate(Struct, kw_only=True):
    code: str
    course_id: str
    course_title: str
    issued_at: str
    expires_at: str | None
    status: str
    revoked_at: str | None
    revocation_cause: str | None
    revocation_reason: str | None


class StaffCertificatePage(Struct, kw_only=True):
    items: list[StaffCertificate]
    next_cursor: str | None


class PublicCertificate(Struct, kw_only=True):
    code: str
    course_id: str
    course_title: str
    issued_at: str
    expires_at: str | None
    status: str
    revoked_at: str | None
    holder: str | None
    issuer: str
    title: str | None
    signatory_name: str | None
    signatory_title: str | None
    accent_color: str
    verification_url: str


class CertificateCorrection(Struct, kw_only=True):
    holder: str


class CertificateRevocation(Struct, kw_only=True):
    reason: str


class CertificateTemplate(Struct, kw_only=True):
    title: str | None
    signatory_name: str | None
    signatory_title: str | None
    accent_color: str | None
    valid_days: int | None
    revoke_on_refund: bool | None
    version: int


class CertificateTemplateFields(Struct, kw_only=True):
    title: str | None | UnsetType = UNSET
    signatory_name: str | None | UnsetType = UNSET
    signatory_title: str | None | UnsetType = UNSET
    accent_color: str | None | UnsetType = UNSET
    valid_days: int | None | UnsetType = UNSET
    revoke_on_refund: bool | None | UnsetType = UNSET


class CourseProgressPage(Struct, kw_only=True):
    items: list[CourseProgress]
    next_cursor: str | None


class OfflineResult(Struct, kw_only=True):
    id: str
    merged: bool
    code: str | None
    detail: str | None


class OfflineBatchResult(Struct, kw_only=True):
    results: list[OfflineResult]


class Position(Struct, kw_only=True):
    lesson_id: str
    position_seconds: int
    furthest_seconds: int
    moved_at: str | None
    watched_seconds: int | UnsetType = UNSET


class PositionFields(Struct, kw_only=True):
    position_seconds: int
    from_seconds: int | UnsetType = UNSET


class Streak(Struct, kw_only=True):
    current_days: int
    longest_days: int
    last_active_on: str | None


class OwnProfile(Struct, kw_only=True):
    id: str
    email: str | None
    email_verified: bool
    name: str | None
    locale: str
    timezone: str
    avatar_url: str | None
    roles: list[str]
    created_at: str
    version: int
    permissions: list[str]
    bio: str | None | UnsetType = UNSET


class ProfileChanges(Struct, kw_only=True):
    name: str | UnsetType = UNSET
    locale: str | UnsetType = UNSET
    timezone: str | UnsetType = UNSET
    avatar_url: str | None | UnsetType = UNSET
    bio: str | None | UnsetType = UNSET


class UserPage(Struct, kw_only=True):
    items: list[Profile]
    next_cursor: str | None
    total: int | None


class UserRoles(Struct, kw_only=True):
    roles: list[str]


class Export(Struct, kw_only=True):
    id: str
    requested_at: str
    finished_at: str
    services: dict[str, Any]


CourseLevel: TypeAlias = Literal["beginner", "intermediate", "advanced"]


CatalogueOrder: TypeAlias = Literal["relevance", "popular", "newest", "rating", "price", "-price"]


OwnCourseStatus: TypeAlias = Literal["draft", "published", "archived"]


EnrollmentResult: TypeAlias = Literal[
    "pending",
    "enrolled",
    "invited",
    "unenrolled",
    "invitation_withdrawn",
    "already_enrolled",
    "already_invited",
    "not_enrolled",
    "access_purchased",
    "duplicate",
    "email_invalid",
    "end_in_past",
]


AuditKind: TypeAlias = Literal["change", "read"]


DeadLetterStatus: TypeAlias = Literal["open", "replayed", "discarded"]


WebhookDeliveryStatus: TypeAlias = Literal["pending", "delivered", "failed"]


NotificationChannel: TypeAlias = Literal["email", "push", "in_app"]


NotificationState: TypeAlias = Literal[
    "queued", "held", "sending", "sent", "delivered", "bounced", "complained", "failed", "suppressed", "skipped"
]


OperationStatus: TypeAlias = Literal["pending", "running", "succeeded", "failed"]


DisputeStatus: TypeAlias = Literal["inquiry", "open", "won", "lost", "review"]


PaymentStatus: TypeAlias = Literal[
    "created",
    "requires_action",
    "processing",
    "authorized",
    "succeeded",
    "failed",
    "canceled",
    "expired",
    "unknown",
    "review",
    "duplicate",
]


RefundStatus: TypeAlias = Literal["created", "unknown", "pending", "review", "succeeded", "failed"]


EnrollmentStatus: TypeAlias = Literal["active", "ended"]


OrderStatus: TypeAlias = Literal[
    "pending", "paid", "partially_refunded", "refunded", "disputed", "charged_back", "expired", "canceled"
]


SubscriptionStatus: TypeAlias = Literal["incomplete", "trialing", "active", "past_due", "canceled", "expired"]


Role: TypeAlias = Literal["learner", "instructor", "admin"]


AnnouncementStatus: TypeAlias = Literal["sending", "sent"]


CompletionRule: TypeAlias = Literal["manual", "viewed", "min_score"]


CourseStatus: TypeAlias = Literal["draft", "published"]


LearnersOnPublication: TypeAlias = Literal["keep", "move"]


QuestionKind: TypeAlias = Literal["choice", "true_false", "short_text", "numeric"]


AnswersShown: TypeAlias = Literal["never", "after_attempt", "after_passing", "after_last_attempt"]


LessonFileRole: TypeAlias = Literal["attachment", "captions"]


LessonKind: TypeAlias = Literal["video", "text", "quiz"]


EnrollmentBatchAction: TypeAlias = Literal["enroll", "unenroll"]


FileKind: TypeAlias = Literal["cover", "attachment", "captions", "video"]


FileStatus: TypeAlias = Literal["pending", "ready"]


ProgressStatus: TypeAlias = Literal["in_progress", "completed"]


LessonLockReason: TypeAlias = Literal["previous_lesson", "prerequisite", "not_open"]


QuizAttemptStatus: TypeAlias = Literal["open", "submitted", "expired"]


DashboardPart: TypeAlias = Literal["profile", "enrollments", "progress", "unread_count", "subscriptions"]


ReadinessStatus: TypeAlias = Literal["ready", "not_ready"]


ServerStatus: TypeAlias = Literal["up", "down"]


EndpointDisabledReason: TypeAlias = Literal["manual", "failing", "gone"]


HandlerState: TypeAlias = Literal["waiting", "handled", "failing", "dead_letter", "discarded", "unknown"]


DeviceKind: TypeAlias = Literal["fcm", "web_push"]


PaymentProvider: TypeAlias = Literal["stripe", "yookassa"]


CouponKind: TypeAlias = Literal["percent", "fixed"]


MoneyMovementKind: TypeAlias = Literal["capture", "refund", "dispute"]


BillingInterval: TypeAlias = Literal["month", "year"]


PaymentDecision: TypeAlias = Literal["accept", "release", "refund"]


ReviewDecision: TypeAlias = Literal["accept", "release"]


AccessKind: TypeAlias = Literal["order", "subscription", "free", "manual"]


AccessState: TypeAlias = Literal[
    "active",
    "not_started",
    "expired",
    "suspended",
    "disputed",
    "charged_back",
    "refunded",
    "subscription_ended",
    "revoked",
    "revoked_by_staff",
    "left",
    "payment_pending",
    "payment_failed",
    "order_expired",
    "order_canceled",
    "access_pending",
]


GrantState: TypeAlias = Literal["active", "not_started", "expired"]


CertificateStatus: TypeAlias = Literal["valid", "revoked", "expired"]


OfflineEventKind: TypeAlias = Literal["completed", "position"]


class PublishedLesson(Struct, kw_only=True):
    """
    A lesson in a published outline, with its rules for unlocking and completion.
    """

    lesson_id: str
    title: str
    duration_seconds: int | None | UnsetType = UNSET
    completion_rule: str | UnsetType = "manual"
    opens_after_days: int | None | UnsetType = UNSET
    opens_at: str | None | UnsetType = UNSET


class CourseCreated(Struct, kw_only=True):
    """
    An author created a course. It is a draft that only its author can see.
    """

    course_id: str
    slug: str
    title: str
    instructor_id: str
    created_at: str


class CourseUpdated(Struct, kw_only=True):
    """
    The draft of a course, its price or its availability changed. A new price applies immediately.
    """

    course_id: str
    slug: str
    title: str
    on_sale: bool
    price_minor: int
    currency: str
    updated_at: str


class CourseArchived(Struct, kw_only=True):
    """
    A course was archived: it is no longer on sale or in its author's list. Learners keep their access.
    """

    course_id: str
    archived_at: str


class EnrollmentCreated(Struct, kw_only=True):
    """
    A user gained access to a course.
    """

    enrollment_id: str
    user_id: str
    course_id: str
    course_title: str
    source: str
    source_id: str
    enrolled_at: str
    course_version: int | None | UnsetType = UNSET
    access_ends_at: str | None | UnsetType = UNSET


class AccessEndChanged(Struct, kw_only=True):
    """
    The access that a user has to a course ends at another time than before.
    """

    enrollment_id: str
    user_id: str
    course_id: str
    ends_at: str | None
    changed_at: str


class AccessEnding(Struct, kw_only=True):
    """
    The access of a user to a course ends soon. Published once for each end.
    """

    enrollment_id: str
    user_id: str
    course_id: str
    course_title: str
    ends_at: str


class EnrollmentEnded(Struct, kw_only=True):
    """
    A user lost access to a course: no active grant is left.

        It comes a second time, with the final reason, when access that was suspended (``disputed``) is revoked.
    """

    enrollment_id: str
    user_id: str
    course_id: str
    reason: str
    ended_at: str


class QuizAttempted(Struct, kw_only=True):
    """
    A learner submitted answers to a quiz, and they were graded.
    """

    user_id: str
    course_id: str
    lesson_id: str
    attempt: int
    score_percent: int
    passed: bool
    attempted_at: str


class RatingRemoved(Struct, kw_only=True):
    """
    A rating no longer counts. If it counts again, COURSE_RATED is published.
    """

    user_id: str
    course_id: str
    reason: str
    removed_at: str


class CourseRated(Struct, kw_only=True):
    """
    A learner rated a course or changed their rating. The latest event of a learner applies.
    """

    user_id: str
    course_id: str
    rating: int
    rated_at: str


class CourseAnnounced(Struct, kw_only=True):
    """
    An announcement is sent to these learners of a course. A large course has several events, one for each page.
    """

    announcement_id: str
    course_id: str
    course_title: str
    subject: str
    body: str
    user_ids: list[str]
    announced_at: str


class WebhookEndpointDisabled(Struct, kw_only=True):
    """
    A webhook endpoint was disabled because its deliveries failed for too long, or because it answered 410 Gone.
    """

    endpoint_id: str
    reason: str
    failing_since: str
    disabled_at: str


class NotificationSent(Struct, kw_only=True):
    """
    A notification was sent: the provider of the channel accepted the message.
    """

    notification_id: str
    user_id: str
    category: str
    channel: str
    sent_at: str


class NotificationFailed(Struct, kw_only=True):
    """
    A notification could not be sent and will not be retried.
    """

    notification_id: str
    user_id: str
    category: str
    channel: str
    reason: str
    failed_at: str


class OrderCreated(Struct, kw_only=True):
    """
    A checkout was started.
    """

    order_id: str
    user_id: str
    course_id: str
    amount_minor: int
    currency: str
    provider: str
    created_at: str
    course_ids: list[str] | UnsetType = UNSET
    description: str | UnsetType = ""


class OrderCanceled(Struct, kw_only=True):
    """
    A buyer canceled an order before it was paid.
    """

    order_id: str
    user_id: str
    course_id: str
    canceled_at: str
    course_ids: list[str] | UnsetType = UNSET


class OrderExpired(Struct, kw_only=True):
    """
    An order was not paid before its checkout session expired. A late payment still pays the order.
    """

    order_id: str
    user_id: str
    course_id: str
    expired_at: str
    course_ids: list[str] | UnsetType = UNSET


class PaymentSucceeded(Struct, kw_only=True):
    """
    A payment was captured. Its state was fetched from the provider and matches the order.
    """

    order_id: str
    payment_id: str
    user_id: str
    description: str
    amount_minor: int
    currency: str
    provider: str
    paid_at: str
    course_ids: list[str] | UnsetType = UNSET


class PaymentFailed(Struct, kw_only=True):
    """
    A payment was declined or abandoned. Another attempt may still pay the order.
    """

    order_id: str
    payment_id: str
    user_id: str
    description: str
    provider: str
    reason: str
    failed_at: str


class PaymentRefunded(Struct, kw_only=True):
    """
    Money was refunded to the buyer.
    """

    order_id: str
    refund_id: str
    payment_id: str
    user_id: str
    description: str
    amount_minor: int
    currency: str
    provider: str
    is_full_refund: bool
    refunded_at: str
    keeps_access: bool | UnsetType = False
    course_ids: list[str] | UnsetType = UNSET


class RefundReversed(Struct, kw_only=True):
    """
    A refund was reversed because the buyer's bank did not accept it: the shop has the money again.
    """

    order_id: str
    refund_id: str
    payment_id: str
    user_id: str
    description: str
    amount_minor: int
    currency: str
    provider: str
    order_restored: bool
    reversed_at: str
    course_ids: list[str] | UnsetType = UNSET


class DisputeOpened(Struct, kw_only=True):
    """
    A dispute was opened: the buyer's bank withholds a payment until the dispute is decided.
    """

    order_id: str
    dispute_id: str
    payment_id: str
    user_id: str
    description: str
    amount_minor: int
    currency: str
    provider: str
    reason: str
    order_suspended: bool
    opened_at: str


class DisputeClosed(Struct, kw_only=True):
    """
    A bank decided a dispute. A dispute that the shop lost may still be won later.
    """

    order_id: str
    dispute_id: str
    payment_id: str
    user_id: str
    description: str
    amount_minor: int
    currency: str
    provider: str
    won: bool
    order_restored: bool
    order_charged_back: bool
    closed_at: str


class CoursePurchased(Struct, kw_only=True):
    """
    A course was purchased, so access must be granted. One event for each course of an order.
    """

    order_id: str
    user_id: str
    course_id: str
    course_title: str
    purchased_at: str


class SubscriptionStarted(Struct, kw_only=True):
    """
    A subscription was paid for the first time, or its trial started: access to its courses must be granted.
    """

    subscription_id: str
    user_id: str
    plan_id: str
    plan_name: str
    course_ids: list[str]
    trial: bool
    period_end: str
    started_at: str


class SubscriptionRenewed(Struct, kw_only=True):
    """
    The next period of a subscription was paid.
    """

    subscription_id: str
    user_id: str
    plan_name: str
    order_id: str
    period_start: str
    period_end: str
    renewed_at: str


class SubscriptionPastDue(Struct, kw_only=True):
    """
    The charge for the next period failed. It is retried for some weeks, during which access continues.
    """

    subscription_id: str
    user_id: str
    plan_name: str
    reason: str
    ends_at: str
    failed_at: str
    is_retried: bool | UnsetType = True


class SubscriptionCanceled(Struct, kw_only=True):
    """
    A subscriber canceled. Access continues until ``ends_at``, when SUBSCRIPTION_EXPIRED is published.
    """

    subscription_id: str
    user_id: str
    plan_name: str
    ends_at: str
    canceled_at: str


class SubscriptionExpired(Struct, kw_only=True):
    """
    A subscription ended for the given reason: its access ends.
    """

    subscription_id: str
    user_id: str
    plan_name: str
    reason: str
    expired_at: str


class SubscriptionRestored(Struct, kw_only=True):
    """
    A subscription that ended for a refund or dispute got its money back: access is restored until ``period_end``.
    """

    subscription_id: str
    user_id: str
    plan_name: str
    period_end: str
    restored_at: str


class SubscriptionTrialEnding(Struct, kw_only=True):
    """
    A trial ends in some days; the first payment is then due.
    """

    subscription_id: str
    user_id: str
    plan_name: str
    amount_minor: int
    currency: str
    trial_ends_at: str
    notified_at: str


class RetainedData(Struct, kw_only=True):
    """
    Data that a service retains: it must not, or need not, be erased.
    """

    description: str
    reason: str


class UserDataExported(Struct, kw_only=True):
    """
    A service has its part of a data export ready. The part itself stays in the service.
    """

    user_id: str
    export_id: str
    service: str
    exported_at: str


class CourseStarted(Struct, kw_only=True):
    """
    A learner started a course, on this version of its outline.
    """

    user_id: str
    course_id: str
    course_version: int
    lessons_total: int
    started_at: str


class CourseVersionChanged(Struct, kw_only=True):
    """
    A learner takes another version of the course. Completed lessons that it has still count.
    """

    user_id: str
    course_id: str
    course_version: int
    lessons_completed: int
    lessons_total: int
    changed_at: str


class LessonCompleted(Struct, kw_only=True):
    """
    A learner completed a lesson.
    """

    user_id: str
    course_id: str
    course_title: str
    lesson_id: str
    lesson_title: str
    lessons_completed: int
    lessons_total: int
    completed_at: str


class LessonReopened(Struct, kw_only=True):
    """
    A learner undid the completion of a lesson.
    """

    user_id: str
    course_id: str
    lesson_id: str
    lessons_completed: int
    lessons_total: int
    reopened_at: str


class LessonUnlocked(Struct, kw_only=True):
    """
    A lesson opened for a learner by its time, or because staff or an instructor opened it. Once for each lesson.
    """

    user_id: str
    course_id: str
    course_title: str
    lesson_id: str
    lesson_title: str
    opened_at: str
    unlocked_at: str
    available: bool


class CourseCompleted(Struct, kw_only=True):
    """
    A learner completed all lessons of a course for the first time.
    """

    user_id: str
    course_id: str
    course_title: str
    lessons_total: int
    completed_at: str
    started_at: str | None | UnsetType = UNSET


class CertificateIssued(Struct, kw_only=True):
    """
    A certificate was issued for a completed course. Anyone with the code can verify it.
    """

    user_id: str
    course_id: str
    course_title: str
    code: str
    issued_at: str


class CertificateRevoked(Struct, kw_only=True):
    """
    A certificate is no longer valid: staff revoked it, or the course was refunded.
    """

    user_id: str
    course_id: str
    course_title: str
    code: str
    cause: str
    revoked_at: str


class CertificateReinstated(Struct, kw_only=True):
    """
    A revoked certificate is valid again.
    """

    user_id: str
    course_id: str
    course_title: str
    code: str
    reinstated_at: str


class UserCreated(Struct, kw_only=True):
    """
    A user signed in for the first time.
    """

    user_id: str
    created_at: str


class UserUpdated(Struct, kw_only=True):
    """
    A profile was initialised or changed. The payload is the whole profile.
    """

    user_id: str
    version: int
    updated_at: str


class UserDeleted(Struct, kw_only=True):
    """
    A user must be erased: every service erases its data and then publishes USER_DATA_ERASED.
    """

    user_id: str
    erasure_id: str
    deleted_at: str


class UserExportRequested(Struct, kw_only=True):
    """
    A user requested a data export: every service prepares its part and publishes USER_DATA_EXPORTED.
    """

    user_id: str
    export_id: str
    requested_at: str


class EventEnvelope(Struct, kw_only=True):
    """
    CloudEvents 1.0.
    """

    specversion: Literal["1.0"]
    id: str
    source: str
    subject: str
    time: str
    datacontenttype: Literal["application/json"]
    dataschema: str
    sequence: str
    position: str
    correlationid: str | UnsetType = UNSET


class WelcomeData(Struct, kw_only=True, tag_field="kind", tag="welcome"):
    """
    A user signed in for the first time.
    """

    event: Literal["USER_CREATED"]
    created_at: str


class CourseWelcomeData(Struct, kw_only=True, tag_field="kind", tag="course_welcome"):
    """
    A user gained access to a course.
    """

    event: Literal["ENROLLMENT_CREATED"]
    enrollment_id: str
    course_id: str
    course_title: str
    source: str
    source_id: str
    enrolled_at: str
    course_version: int | None
    access_ends_at: str | None


class AccessEndingData(Struct, kw_only=True, tag_field="kind", tag="access_ending"):
    """
    The access of a user to a course ends soon. Published once for each end.
    """

    event: Literal["ACCESS_ENDING"]
    enrollment_id: str
    course_id: str
    course_title: str
    ends_at: str


class ReceiptData(Struct, kw_only=True, tag_field="kind", tag="receipt"):
    """
    A payment was captured. Its state was fetched from the provider and matches the order.
    """

    event: Literal["PAYMENT_SUCCEEDED"]
    order_id: str
    payment_id: str
    description: str
    amount_minor: int
    currency: str
    provider: str
    paid_at: str
    course_ids: list[str]


class RefundData(Struct, kw_only=True, tag_field="kind", tag="refund"):
    """
    Money was refunded to the buyer.
    """

    event: Literal["PAYMENT_REFUNDED"]
    order_id: str
    refund_id: str
    payment_id: str
    description: str
    amount_minor: int
    currency: str
    provider: str
    is_full_refund: bool
    refunded_at: str
    keeps_access: bool
    course_ids: list[str]


class RefundReversedData(Struct, kw_only=True, tag_field="kind", tag="refund_reversed"):
    """
    A refund was reversed because the buyer's bank did not accept it: the shop has the money again.
    """

    event: Literal["REFUND_REVERSED"]
    order_id: str
    refund_id: str
    payment_id: str
    description: str
    amount_minor: int
    currency: str
    provider: str
    order_restored: bool
    reversed_at: str
    course_ids: list[str]


class DisputeOpenedData(Struct, kw_only=True, tag_field="kind", tag="dispute_opened"):
    """
    A dispute was opened: the buyer's bank withholds a payment until the dispute is decided.
    """

    event: Literal["DISPUTE_OPENED"]
    order_id: str
    dispute_id: str
    payment_id: str
    description: str
    amount_minor: int
    currency: str
    provider: str
    reason: str
    order_suspended: bool
    opened_at: str


class DisputeClosedData(Struct, kw_only=True, tag_field="kind", tag="dispute_closed"):
    """
    A bank decided a dispute. A dispute that the shop lost may still be won later.
    """

    event: Literal["DISPUTE_CLOSED"]
    order_id: str
    dispute_id: str
    payment_id: str
    description: str
    amount_minor: int
    currency: str
    provider: str
    won: bool
    order_restored: bool
    order_charged_back: bool
    closed_at: str


class PaymentFailedData(Struct, kw_only=True, tag_field="kind", tag="payment_failed"):
    """
    A payment was declined or abandoned. Another attempt may still pay the order.
    """

    event: Literal["PAYMENT_FAILED"]
    order_id: str
    payment_id: str
    description: str
    provider: str
    reason: str
    failed_at: str


class SubscriptionStartedData(Struct, kw_only=True, tag_field="kind", tag="subscription_started"):
    """
    A subscription was paid for the first time, or its trial started: access to its courses must be granted.
    """

    event: Literal["SUBSCRIPTION_STARTED"]
    subscription_id: str
    plan_id: str
    plan_name: str
    course_ids: list[str]
    trial: bool
    period_end: str
    started_at: str


class SubscriptionPastDueData(Struct, kw_only=True, tag_field="kind", tag="subscription_past_due"):
    """
    The charge for the next period failed. It is retried for some weeks, during which access continues.
    """

    event: Literal["SUBSCRIPTION_PAST_DUE"]
    subscription_id: str
    plan_name: str
    reason: str
    ends_at: str
    failed_at: str
    is_retried: bool


class SubscriptionTrialEndingData(Struct, kw_only=True, tag_field="kind", tag="subscription_trial_ending"):
    """
    A trial ends in some days; the first payment is then due.
    """

    event: Literal["SUBSCRIPTION_TRIAL_ENDING"]
    subscription_id: str
    plan_name: str
    amount_minor: int
    currency: str
    trial_ends_at: str
    notified_at: str


class SubscriptionCanceledData(Struct, kw_only=True, tag_field="kind", tag="subscription_canceled"):
    """
    A subscriber canceled. Access continues until ``ends_at``, when SUBSCRIPTION_EXPIRED is published.
    """

    event: Literal["SUBSCRIPTION_CANCELED"]
    subscription_id: str
    plan_name: str
    ends_at: str
    canceled_at: str


class SubscriptionExpiredData(Struct, kw_only=True, tag_field="kind", tag="subscription_expired"):
    """
    A subscription ended for the given reason: its access ends.
    """

    event: Literal["SUBSCRIPTION_EXPIRED"]
    subscription_id: str
    plan_name: str
    reason: str
    expired_at: str


class SubscriptionRestoredData(Struct, kw_only=True, tag_field="kind", tag="subscription_restored"):
    """
    A subscription that ended for a refund or dispute got its money back: access is restored until ``period_end``.
    """

    event: Literal["SUBSCRIPTION_RESTORED"]
    subscription_id: str
    plan_name: str
    period_end: str
    restored_at: str


class LessonCompletedData(Struct, kw_only=True, tag_field="kind", tag="lesson_completed"):
    """
    A learner completed a lesson.
    """

    event: Literal["LESSON_COMPLETED"]
    course_id: str
    course_title: str
    lesson_id: str
    lesson_title: str
    lessons_completed: int
    lessons_total: int
    completed_at: str


class LessonUnlockedData(Struct, kw_only=True, tag_field="kind", tag="lesson_unlocked"):
    """
    A lesson opened for a learner by its time, or because staff or an instructor opened it. Once for each lesson.
    """

    event: Literal["LESSON_UNLOCKED"]
    course_id: str
    course_title: str
    lesson_id: str
    lesson_title: str
    opened_at: str
    unlocked_at: str
    available: bool


class CourseCompletedData(Struct, kw_only=True, tag_field="kind", tag="course_completed"):
    """
    A learner completed all lessons of a course for the first time.
    """

    event: Literal["COURSE_COMPLETED"]
    course_id: str
    course_title: str
    lessons_total: int
    completed_at: str
    started_at: str | None


class CertificateData(Struct, kw_only=True, tag_field="kind", tag="certificate"):
    """
    A certificate was issued for a completed course. Anyone with the code can verify it.
    """

    event: Literal["CERTIFICATE_ISSUED"]
    course_id: str
    course_title: str
    code: str
    issued_at: str


class CertificateRevokedData(Struct, kw_only=True, tag_field="kind", tag="certificate_revoked"):
    """
    A certificate is no longer valid: staff revoked it, or the course was refunded.
    """

    event: Literal["CERTIFICATE_REVOKED"]
    course_id: str
    course_title: str
    code: str
    cause: str
    revoked_at: str


class CertificateReinstatedData(Struct, kw_only=True, tag_field="kind", tag="certificate_reinstated"):
    """
    A revoked certificate is valid again.
    """

    event: Literal["CERTIFICATE_REINSTATED"]
    course_id: str
    course_title: str
    code: str
    reinstated_at: str


class AnnouncementData(Struct, kw_only=True, tag_field="kind", tag="announcement"):
    """
    An instructor or staff wrote to the learners of a course.
    """

    event: Literal["COURSE_ANNOUNCED"]
    announcement_id: str
    course_id: str
    course_title: str
    subject: str
    first: str
    rest: list[str]


class InactivityData(Struct, kw_only=True, tag_field="kind", tag="inactivity"):
    """
    A learner has not completed a lesson for some days.
    """

    event: Literal["REMINDER"]
    about: str
    since: str
    course_id: str
    course_title: str
    days: int


class StreakData(Struct, kw_only=True, tag_field="kind", tag="streak"):
    """
    A learner's streak of ``days`` breaks at midnight.
    """

    event: Literal["REMINDER"]
    about: str
    since: str
    days: int


class AbandonedCheckoutData(Struct, kw_only=True, tag_field="kind", tag="abandoned_checkout"):
    """
    A buyer has not completed an order.
    """

    event: Literal["REMINDER"]
    about: str
    since: str
    order_id: str
    course_id: str
    description: str
    amount_minor: int
    currency: str


class UnknownNotificationData(Struct, kw_only=True, tag_field="kind", tag="unknown"):
    """
    What the server sent about a notification whose kind this version does not know.
    """

    fields: dict[str, Any]


class CourseFields(Struct, kw_only=True):
    title: str
    category: str
    level: CourseLevel
    language: str
    price: Money
    slug: str | UnsetType = UNSET
    summary: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    tags: list[str] | UnsetType = UNSET
    cover_url: str | None | UnsetType = UNSET
    sequential: bool | UnsetType = UNSET


class Completion(Struct, kw_only=True):
    rule: CompletionRule
    min_score_percent: int | UnsetType = UNSET


class OutlineLesson(Struct, kw_only=True):
    id: str
    title: str
    kind: str
    position: int
    duration_seconds: int | None
    free_preview: bool
    completion: Completion
    unlock: Unlock | None


class Section(Struct, kw_only=True):
    id: str
    title: str
    position: int
    lessons: list[OutlineLesson]


class Course(Struct, kw_only=True):
    id: str
    slug: str
    status: str
    title: str
    summary: str
    category: str
    level: str
    language: str
    tags: list[str]
    cover_url: str | None
    description: str
    price: Money
    instructor_id: str
    sequential: bool
    prerequisites: list[str]
    lessons_total: int
    duration_seconds: int
    sections: list[Section]
    published_at: str | None
    version: int
    editor_ids: list[str] | UnsetType = UNSET


class CourseChanges(Struct, kw_only=True):
    slug: str | UnsetType = UNSET
    title: str | UnsetType = UNSET
    summary: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    category: str | UnsetType = UNSET
    level: CourseLevel | UnsetType = UNSET
    language: str | UnsetType = UNSET
    tags: list[str] | UnsetType = UNSET
    cover_url: str | None | UnsetType = UNSET
    cover_file_id: str | None | UnsetType = UNSET
    price: Money | UnsetType = UNSET
    sequential: bool | UnsetType = UNSET


class Publication(Struct, kw_only=True):
    learners: LearnersOnPublication | UnsetType = "keep"


class Question(Struct, kw_only=True):
    id: str
    text: str
    correct: list[str]
    kind: QuestionKind | UnsetType = "choice"
    options: list[Option] | UnsetType = UNSET
    multiple: bool | UnsetType = False
    partial_credit: bool | UnsetType = UNSET
    tolerance: str | UnsetType = UNSET
    points: int | UnsetType = 1
    explanation: str | UnsetType = UNSET
    pool: str | UnsetType = UNSET


class QuizSettings(Struct, kw_only=True):
    attempts_max: int | None | UnsetType = UNSET
    time_limit_seconds: int | None | UnsetType = UNSET
    shuffle_questions: bool | UnsetType = UNSET
    shuffle_options: bool | UnsetType = UNSET
    show_answers: AnswersShown | UnsetType = UNSET
    pools: list[QuizPool] | UnsetType = UNSET


class Content(Struct, kw_only=True):
    url: str | UnsetType = UNSET
    file_id: str | UnsetType = UNSET
    body: str | UnsetType = UNSET
    questions: list[Question] | UnsetType = UNSET
    settings: QuizSettings | UnsetType = UNSET


class LessonFile(Struct, kw_only=True):
    file_id: str
    role: LessonFileRole
    language: str | UnsetType = UNSET
    label: str | UnsetType = UNSET


class LessonDocument(Struct, kw_only=True):
    title: str
    kind: LessonKind
    content: Content
    duration_seconds: int | None | UnsetType = UNSET
    free_preview: bool | UnsetType = UNSET
    completion: Completion | UnsetType = UNSET
    unlock: Unlock | None | UnsetType = UNSET
    files: list[LessonFile] | UnsetType = UNSET


class SectionDocument(Struct, kw_only=True):
    title: str
    lessons: list[LessonDocument]


class CourseDocument(Struct, kw_only=True):
    format: str
    course: CourseFields
    sections: list[SectionDocument]
    prerequisites: list[str] | UnsetType = field(default_factory=list)


class EnrollmentBatchFields(Struct, kw_only=True):
    action: EnrollmentBatchAction | UnsetType = "enroll"
    emails: list[str] | UnsetType = UNSET
    csv: str | UnsetType = UNSET
    ends_at: str | None | UnsetType = UNSET


class FileFields(Struct, kw_only=True):
    kind: FileKind
    name: str
    content_type: str
    size_bytes: int


class LearnerLesson(Struct, kw_only=True):
    id: str
    title: str
    kind: str
    position: int
    duration_seconds: int | None
    free_preview: bool
    completion: Completion
    unlock: Unlock | None
    completed_at: str | None
    position_seconds: int
    furthest_seconds: int
    score_percent: int | None
    locked: bool
    locked_reason: str | None
    locked_by: str | None
    opens_at: str | None


class LearnerSection(Struct, kw_only=True):
    id: str
    title: str
    position: int
    lessons: list[LearnerLesson]


class LearnerCourse(Struct, kw_only=True):
    course_id: str
    slug: str
    title: str
    summary: str
    description: str
    category: str
    level: str
    language: str
    tags: list[str]
    cover_url: str | None
    instructor_id: str
    on_sale: bool
    course_version: int
    latest_version: int
    sequential: bool
    prerequisites: list[str]
    lessons_total: int
    duration_seconds: int
    access: LearnerAccess
    progress: CourseProgress
    certificate: LearnerCertificate | None
    schedule: LearnerSchedule | None
    sections: list[LearnerSection]


class LessonFields(Struct, kw_only=True):
    title: str
    section_id: str
    kind: LessonKind
    content: Content
    duration_seconds: int | None | UnsetType = UNSET
    free_preview: bool | UnsetType = UNSET
    completion: Completion | UnsetType = UNSET
    unlock: Unlock | None | UnsetType = UNSET
    files: list[LessonFile] | UnsetType = UNSET


class Lesson(Struct, kw_only=True):
    id: str
    title: str
    kind: str
    position: int
    duration_seconds: int | None
    free_preview: bool
    completion: Completion
    unlock: Unlock | None
    section_id: str
    content: LessonContent
    files: list[LessonFileLink] | UnsetType = UNSET


class LessonChanges(Struct, kw_only=True):
    title: str | UnsetType = UNSET
    section_id: str | UnsetType = UNSET
    kind: LessonKind | UnsetType = UNSET
    content: Content | UnsetType = UNSET
    duration_seconds: int | None | UnsetType = UNSET
    free_preview: bool | UnsetType = UNSET
    completion: Completion | UnsetType = UNSET
    unlock: Unlock | None | UnsetType = UNSET
    files: list[LessonFile] | UnsetType = UNSET


class NewDevice(Struct, kw_only=True):
    kind: DeviceKind
    token: str | UnsetType = UNSET
    subscription: WebPushSubscription | UnsetType = UNSET


class CheckoutRequest(Struct, kw_only=True):
    provider: PaymentProvider
    course_id: str | UnsetType = UNSET
    bundle_id: str | UnsetType = UNSET
    plan_id: str | UnsetType = UNSET
    coupon: str | UnsetType = UNSET
    success_url: str | UnsetType = UNSET
    cancel_url: str | UnsetType = UNSET
    receipt_email: str | UnsetType = UNSET


class PlanSubscriptionRequest(Struct, kw_only=True):
    plan_id: str
    provider: PaymentProvider
    receipt_email: str | UnsetType = UNSET


class CouponTerms(Struct, kw_only=True):
    code: str
    kind: CouponKind
    value: int
    max_redemptions: int | None | UnsetType = UNSET
    max_per_user: int | None | UnsetType = UNSET
    starts_at: str | None | UnsetType = UNSET
    ends_at: str | None | UnsetType = UNSET
    course_ids: list[str] | None | UnsetType = UNSET
    currency: str | UnsetType = UNSET


class PlanRequest(Struct, kw_only=True):
    name: str
    price: PlanPrice
    interval: BillingInterval
    course_ids: list[str]
    trial_days: int | UnsetType = 0


class PaymentResolution(Struct, kw_only=True):
    action: PaymentDecision
    note: str


class RefundResolution(Struct, kw_only=True):
    action: ReviewDecision
    note: str


class DisputeResolution(Struct, kw_only=True):
    action: ReviewDecision
    note: str
    amount_minor: int | UnsetType = UNSET


class OfflineEvent(Struct, kw_only=True):
    id: str
    course_id: str
    lesson_id: str
    kind: OfflineEventKind
    at: str
    position_seconds: int | UnsetType = UNSET
    from_seconds: int | UnsetType = UNSET


class OfflineBatch(Struct, kw_only=True):
    events: list[OfflineEvent]


class Roles(Struct, kw_only=True):
    roles: list[Role]


class PublishedSection(Struct, kw_only=True):
    section_id: str
    lessons: list[PublishedLesson]


class UserDataErased(Struct, kw_only=True):
    """
    A service has erased the personal data of a user.
    """

    user_id: str
    service: str
    rows: int
    retained: list[RetainedData]
    erased_at: str


class CourseCreatedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="COURSE_CREATED"):
    """
    An author created a course. It is a draft that only its author can see.
    """

    data: CourseCreated


class CourseUpdatedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="COURSE_UPDATED"):
    """
    The draft of a course, its price or its availability changed. A new price applies immediately.
    """

    data: CourseUpdated


class CourseArchivedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="COURSE_ARCHIVED"):
    """
    A course was archived: it is no longer on sale or in its author's list. Learners keep their access.
    """

    data: CourseArchived


class EnrollmentCreatedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="ENROLLMENT_CREATED"):
    """
    A user gained access to a course.
    """

    data: EnrollmentCreated


class AccessEndChangedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="ACCESS_END_CHANGED"):
    """
    The access that a user has to a course ends at another time than before.
    """

    data: AccessEndChanged


class AccessEndingEvent(EventEnvelope, kw_only=True, tag_field="type", tag="ACCESS_ENDING"):
    """
    The access of a user to a course ends soon. Published once for each end.
    """

    data: AccessEnding


class EnrollmentEndedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="ENROLLMENT_ENDED"):
    """
    A user lost access to a course: no active grant is left.
    """

    data: EnrollmentEnded


class QuizAttemptedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="QUIZ_ATTEMPTED"):
    """
    A learner submitted answers to a quiz, and they were graded.
    """

    data: QuizAttempted


class RatingRemovedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="RATING_REMOVED"):
    """
    A rating no longer counts. If it counts again, COURSE_RATED is published.
    """

    data: RatingRemoved


class CourseRatedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="COURSE_RATED"):
    """
    A learner rated a course or changed their rating. The latest event of a learner applies.
    """

    data: CourseRated


class CourseAnnouncedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="COURSE_ANNOUNCED"):
    """
    An announcement is sent to these learners of a course. A large course has several events, one for each page.
    """

    data: CourseAnnounced


class WebhookEndpointDisabledEvent(EventEnvelope, kw_only=True, tag_field="type", tag="WEBHOOK_ENDPOINT_DISABLED"):
    """
    A webhook endpoint was disabled because its deliveries failed for too long, or because it answered 410 Gone.
    """

    data: WebhookEndpointDisabled


class NotificationSentEvent(EventEnvelope, kw_only=True, tag_field="type", tag="NOTIFICATION_SENT"):
    """
    A notification was sent: the provider of the channel accepted the message.
    """

    data: NotificationSent


class NotificationFailedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="NOTIFICATION_FAILED"):
    """
    A notification could not be sent and will not be retried.
    """

    data: NotificationFailed


class OrderCreatedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="ORDER_CREATED"):
    """
    A checkout was started.
    """

    data: OrderCreated


class OrderCanceledEvent(EventEnvelope, kw_only=True, tag_field="type", tag="ORDER_CANCELED"):
    """
    A buyer canceled an order before it was paid.
    """

    data: OrderCanceled


class OrderExpiredEvent(EventEnvelope, kw_only=True, tag_field="type", tag="ORDER_EXPIRED"):
    """
    An order was not paid before its checkout session expired. A late payment still pays the order.
    """

    data: OrderExpired


class PaymentSucceededEvent(EventEnvelope, kw_only=True, tag_field="type", tag="PAYMENT_SUCCEEDED"):
    """
    A payment was captured. Its state was fetched from the provider and matches the order.
    """

    data: PaymentSucceeded


class PaymentFailedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="PAYMENT_FAILED"):
    """
    A payment was declined or abandoned. Another attempt may still pay the order.
    """

    data: PaymentFailed


class PaymentRefundedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="PAYMENT_REFUNDED"):
    """
    Money was refunded to the buyer.
    """

    data: PaymentRefunded


class RefundReversedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="REFUND_REVERSED"):
    """
    A refund was reversed because the buyer's bank did not accept it: the shop has the money again.
    """

    data: RefundReversed


class DisputeOpenedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="DISPUTE_OPENED"):
    """
    A dispute was opened: the buyer's bank withholds a payment until the dispute is decided.
    """

    data: DisputeOpened


class DisputeClosedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="DISPUTE_CLOSED"):
    """
    A bank decided a dispute. A dispute that the shop lost may still be won later.
    """

    data: DisputeClosed


class CoursePurchasedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="COURSE_PURCHASED"):
    """
    A course was purchased, so access must be granted. One event for each course of an order.
    """

    data: CoursePurchased


class SubscriptionStartedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="SUBSCRIPTION_STARTED"):
    """
    A subscription was paid for the first time, or its trial started: access to its courses must be granted.
    """

    data: SubscriptionStarted


class SubscriptionRenewedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="SUBSCRIPTION_RENEWED"):
    """
    The next period of a subscription was paid.
    """

    data: SubscriptionRenewed


class SubscriptionPastDueEvent(EventEnvelope, kw_only=True, tag_field="type", tag="SUBSCRIPTION_PAST_DUE"):
    """
    The charge for the next period failed. It is retried for some weeks, during which access continues.
    """

    data: SubscriptionPastDue


class SubscriptionCanceledEvent(EventEnvelope, kw_only=True, tag_field="type", tag="SUBSCRIPTION_CANCELED"):
    """
    A subscriber canceled. Access continues until ``ends_at``, when SUBSCRIPTION_EXPIRED is published.
    """

    data: SubscriptionCanceled


class SubscriptionExpiredEvent(EventEnvelope, kw_only=True, tag_field="type", tag="SUBSCRIPTION_EXPIRED"):
    """
    A subscription ended for the given reason: its access ends.
    """

    data: SubscriptionExpired


class SubscriptionRestoredEvent(EventEnvelope, kw_only=True, tag_field="type", tag="SUBSCRIPTION_RESTORED"):
    """
    A subscription that ended for a refund or dispute got its money back: access is restored until ``period_end``.
    """

    data: SubscriptionRestored


class SubscriptionTrialEndingEvent(EventEnvelope, kw_only=True, tag_field="type", tag="SUBSCRIPTION_TRIAL_ENDING"):
    """
    A trial ends in some days; the first payment is then due.
    """

    data: SubscriptionTrialEnding


class UserDataErasedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="USER_DATA_ERASED"):
    """
    A service has erased the personal data of a user.
    """

    data: UserDataErased


class UserDataExportedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="USER_DATA_EXPORTED"):
    """
    A service has its part of a data export ready. The part itself stays in the service.
    """

    data: UserDataExported


class CourseStartedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="COURSE_STARTED"):
    """
    A learner started a course, on this version of its outline.
    """

    data: CourseStarted


class CourseVersionChangedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="COURSE_VERSION_CHANGED"):
    """
    A learner takes another version of the course. Completed lessons that it has still count.
    """

    data: CourseVersionChanged


class LessonCompletedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="LESSON_COMPLETED"):
    """
    A learner completed a lesson.
    """

    data: LessonCompleted


class LessonReopenedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="LESSON_REOPENED"):
    """
    A learner undid the completion of a lesson.
    """

    data: LessonReopened


class LessonUnlockedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="LESSON_UNLOCKED"):
    """
    A lesson opened for a learner by its time, or because staff or an instructor opened it. Once for each lesson.
    """

    data: LessonUnlocked


class CourseCompletedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="COURSE_COMPLETED"):
    """
    A learner completed all lessons of a course for the first time.
    """

    data: CourseCompleted


class CertificateIssuedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="CERTIFICATE_ISSUED"):
    """
    A certificate was issued for a completed course. Anyone with the code can verify it.
    """

    data: CertificateIssued


class CertificateRevokedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="CERTIFICATE_REVOKED"):
    """
    A certificate is no longer valid: staff revoked it, or the course was refunded.
    """

    data: CertificateRevoked


class CertificateReinstatedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="CERTIFICATE_REINSTATED"):
    """
    A revoked certificate is valid again.
    """

    data: CertificateReinstated


class UserCreatedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="USER_CREATED"):
    """
    A user signed in for the first time.
    """

    data: UserCreated


class UserUpdatedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="USER_UPDATED"):
    """
    A profile was initialised or changed. The payload is the whole profile.
    """

    data: UserUpdated


class UserDeletedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="USER_DELETED"):
    """
    A user must be erased: every service erases its data and then publishes USER_DATA_ERASED.
    """

    data: UserDeleted


class UserExportRequestedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="USER_EXPORT_REQUESTED"):
    """
    A user requested a data export: every service prepares its part and publishes USER_DATA_EXPORTED.
    """

    data: UserExportRequested


NotificationData: TypeAlias = (
    WelcomeData
    | CourseWelcomeData
    | AccessEndingData
    | ReceiptData
    | RefundData
    | RefundReversedData
    | DisputeOpenedData
    | DisputeClosedData
    | PaymentFailedData
    | SubscriptionStartedData
    | SubscriptionPastDueData
    | SubscriptionTrialEndingData
    | SubscriptionCanceledData
    | SubscriptionExpiredData
    | SubscriptionRestoredData
    | LessonCompletedData
    | LessonUnlockedData
    | CourseCompletedData
    | CertificateData
    | CertificateRevokedData
    | CertificateReinstatedData
    | AnnouncementData
    | InactivityData
    | StreakData
    | AbandonedCheckoutData
    | UnknownNotificationData
)


class NotificationDelivery(Struct, kw_only=True):
    id: str
    user_id: str
    event_id: str
    category: str
    channel: str
    state: str
    reason: str | None
    attempts: int
    due_at: str | None
    created_at: str
    ended_at: str | None
    data: NotificationData


class NotificationDeliveryPage(Struct, kw_only=True):
    items: list[NotificationDelivery]
    next_cursor: str | None


class Notification(Struct, kw_only=True):
    id: str
    category: str
    title: str
    body: str
    data: NotificationData
    created_at: str
    seen_at: str | None
    read_at: str | None
    archived_at: str | None


class NotificationPage(Struct, kw_only=True):
    items: list[Notification]
    next_cursor: str | None


class CoursePublished(Struct, kw_only=True):
    """
    A version of a course was published, with this outline and price.
    """

    course_id: str
    course_version: int
    slug: str
    title: str
    instructor_id: str
    price_minor: int
    currency: str
    sequential: bool
    sections: list[PublishedSection]
    published_at: str
    prerequisites: list[str] | UnsetType = UNSET
    learners: str | UnsetType = "keep"


class CoursePublishedEvent(EventEnvelope, kw_only=True, tag_field="type", tag="COURSE_PUBLISHED"):
    """
    A version of a course was published, with this outline and price.
    """

    data: CoursePublished


Event: TypeAlias = (
    CoursePublishedEvent
    | CourseCreatedEvent
    | CourseUpdatedEvent
    | CourseArchivedEvent
    | EnrollmentCreatedEvent
    | AccessEndChangedEvent
    | AccessEndingEvent
    | EnrollmentEndedEvent
    | QuizAttemptedEvent
    | RatingRemovedEvent
    | CourseRatedEvent
    | CourseAnnouncedEvent
    | WebhookEndpointDisabledEvent
    | NotificationSentEvent
    | NotificationFailedEvent
    | OrderCreatedEvent
    | OrderCanceledEvent
    | OrderExpiredEvent
    | PaymentSucceededEvent
    | PaymentFailedEvent
    | PaymentRefundedEvent
    | RefundReversedEvent
    | DisputeOpenedEvent
    | DisputeClosedEvent
    | CoursePurchasedEvent
    | SubscriptionStartedEvent
    | SubscriptionRenewedEvent
    | SubscriptionPastDueEvent
    | SubscriptionCanceledEvent
    | SubscriptionExpiredEvent
    | SubscriptionRestoredEvent
    | SubscriptionTrialEndingEvent
    | UserDataErasedEvent
    | UserDataExportedEvent
    | CourseStartedEvent
    | CourseVersionChangedEvent
    | LessonCompletedEvent
    | LessonReopenedEvent
    | LessonUnlockedEvent
    | CourseCompletedEvent
    | CertificateIssuedEvent
    | CertificateRevokedEvent
    | CertificateReinstatedEvent
    | UserCreatedEvent
    | UserUpdatedEvent
    | UserDeletedEvent
    | UserExportRequestedEvent
)


class EventFeedPage(Struct, kw_only=True):
    items: list[Event]
    next_after: str
    has_more: bool
