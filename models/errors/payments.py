"""Errors of offers, orders, payments, refunds, subscriptions and coupons."""

from core.errors import Conflict, DomainError, Invalid, Unavailable


class PaymentRequired(Conflict):
    message = "Course {0} is not free: buy it by a checkout."


class AlreadyPurchased(Conflict):
    message = "You already own the {0} {1}."


class CurrencyNotSupported(Invalid):
    message = "{0} does not accept {1}."


class AmountTooSmall(Invalid):
    message = "The minimum amount for {0} is {1} {2}."


class AmountTooLarge(Invalid):
    message = "The maximum amount for {0} is {1} {2}."


class AmountNotDivisible(Invalid):
    message = "{0} supports amounts in {1} only in multiples of {2}."


class ReceiptEmailMissing(Invalid):
    message = "{0} must send buyers a receipt by law: send receipt_email."


class OrderClosed(Conflict):
    message = "The order is already {0}."


class AlreadySubscribed(Conflict):
    message = "You are already subscribed to plan {0}."


class SubscriptionEnded(Conflict):
    message = "The subscription {0} has ended or has not started."


class PaymentMethodMissing(Conflict):
    message = "No payment method is saved at {0}: start with a checkout with plan_id."


class CheckoutOutcomeUnknown(Conflict):
    message = "The payment provider has not responded for order {0} yet; the request will be retried."
    retry_after_seconds = 30


class PaymentInProgress(Conflict):
    message = "A payment for the {0} {1} is in progress: wait for its outcome."
    retry_after_seconds = 30


class ReturnUrlNotAllowed(Invalid):
    message = "The return URL {0} is not allowed."


class CouponUnknown(Invalid):
    message = "There is no coupon {0}."


class CouponExpired(Invalid):
    message = "The coupon {0} is not valid at this time."


class CouponExhausted(Invalid):
    message = "The coupon {0} has reached its usage limit."


class CouponNotApplicable(Invalid):
    message = "The coupon {0} does not apply to this purchase."


class CouponCurrencyMismatch(Invalid):
    message = "The coupon {0} is only valid for prices in {1}."


class CouponCodeExists(Conflict):
    message = "A coupon {0} already exists."


class CouponPeriodInvalid(Invalid):
    message = "The coupon must end after it starts."


class CouponLimitBelowUsage(Conflict):
    message = "The coupon has already been used {0} times."


class OrderNotPaid(Conflict):
    message = "Nothing was paid for order {0}."


class PaymentOrderMismatch(Invalid):
    message = "Order {0} has no payment {1}."


class PaymentInReview(Conflict):
    message = "Payment {0} is in review: resolve it instead."


class NotInReview(Conflict):
    message = "The {0} {1} is not in review."


class ResolutionNotAllowed(Conflict):
    message = "{0}"


class RefundTooLarge(Invalid):
    message = "At most {0} {1} (minor units) can be refunded."


class PaymentRefused(DomainError):
    status = 402
    message = "The payment provider refused: {0}."


class ProviderUnavailable(Unavailable):
    message = "{0} is unavailable; the request was not executed."


class ProviderNotConfigured(Invalid):
    message = "The payment provider {0} is not configured here."


class ProviderOutcomeUnknown(Unavailable):
    message = "{0} did not return a definite result."
