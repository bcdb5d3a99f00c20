"""Invoices and credit notes: number them, show them; the details that buyers want on them."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.db import utc_now
from models.commands.payments import BuyerDetails
from models.errors import NotFound, OrderNotPaid
from models.payments import BillingDetails, Invoice, Order, Orders, Refund
from models.payments.order_responses import invoice_response
from models.personal_data import is_erased
from workers import job, task

BATCH_SIZE = 500


@job
def number_invoices(session: Session) -> None:
    """Number the documents that payments and refunds have added, in the order of these."""
    Invoice.assign_numbers(session, Invoice.list_unnumbered(session, limit=BATCH_SIZE))


@task
def show_invoice(session: Session, *, order_id: UUID, user_id: UUID | None) -> dict[str, Any]:
    """Return the invoice of an order of ``user_id`` (None: of any user); issue it if the job has not done so.

    Raises NotFound, and OrderNotPaid, also for a free order.
    """
    orders = Orders(session)
    order = orders.get(order_id, user_id=user_id)
    if order.successful_attempt is None:
        raise OrderNotPaid(str(order.id))
    documents = Invoice.list_for_order(session, order.id)
    if not any(each.kind == "invoice" for each in documents):
        order = orders.get_for_update(order_id)
        documents = _add_missing(session, order)
    if any(each.number is None for each in documents):
        Invoice.assign_numbers(session, [each for each in documents if each.number is None])
        documents = Invoice.list_for_order(session, order.id)
    [invoice] = [each for each in documents if each.kind == "invoice"]
    return invoice_response(order, invoice, [each for each in documents if each is not invoice])


def _add_missing(session: Session, order: Order) -> list[Invoice]:
    """Add the documents of an order that was paid before invoices had numbers; its row must be locked."""
    order.add_invoice(at=utc_now())
    for refund in Refund.list_for_order(session, order.id):
        if refund.status == "succeeded":
            refund.add_credit_note(order, at=utc_now())
    return Invoice.list_for_order(session, order.id)


@task
def show_billing_details(session: Session, *, user_id: UUID) -> dict[str, Any]:
    """Return the details that a buyer wants on invoices: {"version", "view"}."""
    return _details_reply(BillingDetails.get(session, user_id))


@task
def replace_billing_details(
    session: Session, *, user_id: UUID, expected_version: int, details: BuyerDetails
) -> dict[str, Any]:
    """Replace a buyer's details: {"version", "view"}. Recent invoices without details get them, too.

    Raises PreconditionFailed, and NotFound if the account is erased.
    """
    if is_erased(session, "payments", user_id):
        raise NotFound("user", str(user_id))
    replaced = BillingDetails.replace(session, user_id, details, expected_version=expected_version)
    if details != BuyerDetails():
        Invoice.add_details(session, user_id, details, at=utc_now())
    return _details_reply(replaced)


def _details_reply(details: BillingDetails) -> dict[str, Any]:
    view = {name: getattr(details, name) for name in ("name", "company", "address", "tax_id", "version")}
    return {"version": details.version, "view": view}
