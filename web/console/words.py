"""Names of the codes of the API, such as states, roles and accounts, in the language of the person."""

from coursebus import models
from flask import Blueprint

from web.language import _, mark

WORDS = {
    # orders, payments, refunds, disputes, subscriptions, operations, deliveries
    "pending": mark("pending"),
    "paid": mark("paid"),
    "partially_refunded": mark("partly refunded"),
    "refunded": mark("refunded"),
    "disputed": mark("disputed"),
    "charged_back": mark("charged back"),
    "expired": mark("expired"),
    "canceled": mark("canceled"),
    "created": mark("created"),
    "requires_action": mark("waits for the buyer"),
    "processing": mark("in progress at the provider"),
    "authorized": mark("authorized"),
    "succeeded": mark("succeeded"),
    "failed": mark("failed"),
    "unknown": mark("outcome unknown"),
    "review": mark("in review"),
    "duplicate": mark("paid twice"),
    "inquiry": mark("inquiry"),
    "open": mark("open"),
    "won": mark("won"),
    "lost": mark("lost"),
    "incomplete": mark("not paid yet"),
    "trialing": mark("trial"),
    "active": mark("active"),
    "past_due": mark("overdue"),
    "ended": mark("ended"),
    "running": mark("running"),
    "queued": mark("queued"),
    "held": mark("held back"),
    "sending": mark("being sent"),
    "sent": mark("sent"),
    "delivered": mark("delivered"),
    "bounced": mark("bounced"),
    "complained": mark("marked as spam"),
    "suppressed": mark("address blocked"),
    "skipped": mark("not wanted"),
    # events and their handlers
    "published": mark("published"),
    "unpublished": mark("not published yet"),
    "quarantined": mark("in quarantine"),
    "waiting": mark("waiting"),
    "handled": mark("handled"),
    "failing": mark("failing"),
    "dead_letter": mark("dead letter"),
    "discarded": mark("discarded"),
    "replayed": mark("replayed"),
    # certificates, webhook endpoints
    "valid": mark("valid"),
    "revoked": mark("revoked"),
    "disabled": mark("disabled"),
    "manual": mark("disabled by staff"),
    "gone": mark("address gone"),
    # steps of orders
    "order_created": mark("Ordered"),
    "order_paid": mark("Order paid"),
    "order_canceled": mark("Order canceled"),
    "order_expired": mark("Order expired"),
    "access_granted": mark("Access given"),
    "receipt_canceled": mark("Fiscal receipt canceled"),
    "payment_started": mark("Payment started"),
    "payment_created": mark("Payment created"),
    "payment_requires_action": mark("The buyer is at the provider"),
    "payment_processing": mark("The provider processes the payment"),
    "payment_authorized": mark("Payment authorized"),
    "payment_succeeded": mark("Payment succeeded"),
    "payment_failed": mark("Payment failed"),
    "payment_canceled": mark("Payment canceled"),
    "payment_expired": mark("Payment expired"),
    "payment_unknown": mark("Outcome of the payment unknown"),
    "payment_review": mark("Payment in review"),
    "payment_duplicate": mark("Paid twice"),
    "refund_created": mark("Refund created"),
    "refund_unknown": mark("Outcome of the refund unknown"),
    "refund_pending": mark("Refund at the provider"),
    "refund_review": mark("Refund in review"),
    "refund_succeeded": mark("Refund succeeded"),
    "refund_failed": mark("Refund failed"),
    "dispute_inquiry": mark("Inquiry of the bank"),
    "dispute_open": mark("Dispute opened"),
    "dispute_amount": mark("Disputed amount changed"),
    "dispute_won": mark("Dispute won"),
    "dispute_lost": mark("Dispute lost"),
    "dispute_review": mark("Dispute in review"),
    "dispute_released": mark("Dispute released"),
    # movements of money, and providers
    "capture": mark("capture"),
    "refund": mark("refund"),
    "refund_reversed": mark("refund reversed"),
    "dispute": mark("dispute"),
    "dispute_changed": mark("dispute changed"),
    "review_resolved": mark("review resolved"),
    "stripe": mark("Stripe"),
    "yookassa": mark("YooKassa"),
    # roles, categories and channels of notifications, devices
    "learner": mark("learner"),
    "instructor": mark("instructor"),
    "admin": mark("administrator"),
    "account": mark("account"),
    "courses": mark("courses"),
    "announcements": mark("announcements"),
    "progress": mark("progress"),
    "reminders": mark("reminders"),
    "receipts": mark("receipts"),
    "security": mark("security"),
    "email": mark("e-mail"),
    "push": mark("push"),
    "in_app": mark("in the store"),
    "fcm": mark("phone"),
    "web_push": mark("browser"),
}
ACCOUNTS = {
    "sales": mark("Sales"),
    "refunds": mark("Refunds"),
    "disputes": mark("Disputes"),
    "owed_to_buyers": mark("Owed to buyers"),
    "suspense": mark("In review"),
}
REASONS = {
    "active": mark("Gives access."),
    "not_started": mark("Gives access later."),
    "expired": mark("Gave access for a limited time."),
    "suspended": mark("Access is suspended."),
    "disputed": mark("The buyer disputes the payment at the bank: access is suspended until the bank decides."),
    "charged_back": mark("The bank returned the money to the buyer."),
    "refunded": mark("The order was refunded in full."),
    "subscription_ended": mark("The subscription has ended."),
    "revoked": mark("Access was revoked."),
    "revoked_by_staff": mark("Staff revoked the access; the audit log says who."),
    "left": mark("The learner has left the course, and may join it again if it is free."),
    "payment_pending": mark("The payment has not succeeded yet; the timeline of the order shows its steps."),
    "payment_failed": mark("The payment failed; the buyer may pay again while the order is pending."),
    "order_expired": mark("The order expired before it was paid."),
    "order_canceled": mark("The order was canceled before it was paid."),
    "access_pending": mark("Paid, but access was not given yet. If this lasts for minutes, see the dead letters."),
}
SOURCES = {
    "order": mark("Purchase"),
    "subscription": mark("Subscription"),
    "free": mark("Free enrollment"),
    "manual": mark("Grant by staff"),
}


def add_filters(blueprint: Blueprint) -> None:
    """Add the filters of the console to the templates."""
    for each in (word, ledger_account, access_reason):
        blueprint.add_app_template_filter(each)


def word(code: str) -> str:
    """Return the name of a code; a code without a name is shown with spaces."""
    return _(WORDS[code]) if code in WORDS else code.replace("_", " ")


def ledger_account(name: str) -> str:
    """Return the name of an account of the ledger: ``provider.stripe.main`` is the money at Stripe."""
    if name.startswith("provider."):
        _prefix, provider, account = name.split(".", 2)
        return f"{word(provider)}: {account}"
    return _(ACCOUNTS[name]) if name in ACCOUNTS else name


def access_reason(reason: models.AccessReason) -> str:
    """Return why a person has access to a course, or has none; in English if the API has a new reason."""
    if reason.kind not in SOURCES or reason.state not in REASONS:
        return reason.detail
    explained = f"{_(SOURCES[reason.kind])}: {_(REASONS[reason.state])}"
    if reason.problem:
        explained += " " + _("The provider says: %(problem)s.") % {"problem": reason.problem}
    return explained
