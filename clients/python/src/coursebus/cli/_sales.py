"""Orders and refunds."""

from typing import Annotated

import typer

from coursebus import models

from ._output import Column, money
from ._state import state_of

orders = typer.Typer(no_args_is_help=True, help="List and show orders.")
refunds = typer.Typer(no_args_is_help=True, help="List and create refunds.")

ORDER_COLUMNS: list[Column] = [
    ("order", lambda each: each.id),
    ("status", lambda each: each.status),
    ("what", lambda each: each.course_title),
    ("amount", lambda each: money(each.amount_minor, each.currency)),
    ("created", lambda each: each.created_at),
]
_REFUND_COLUMNS: list[Column] = [
    ("refund", lambda each: each.id),
    ("order", lambda each: each.order_id),
    ("status", lambda each: each.status),
    ("amount", lambda each: money(each.amount_minor, each.currency)),
    ("problem", lambda each: each.problem),
]


@orders.command("list")
def list_orders(
    context: typer.Context,
    person: Annotated[str, typer.Option(help="Id or e-mail address; else your own orders.")] = "",
    status: str = "",
) -> None:
    """List orders, newest first."""
    state = state_of(context)
    found = (
        state.client.list_user_orders(state.person_id(person), status=status or None, limit=100)  # type: ignore[arg-type]
        if person
        else [each for each in state.client.list_own_orders(limit=100) if status in {"", each.status}]
    )
    state.output.items(found, ORDER_COLUMNS)


@orders.command("show")
def show_order(context: typer.Context, order: str) -> None:
    """Show an order with its history."""
    state = state_of(context)
    shown = state.client.get_order(order)
    history = list(state.client.list_order_history(order, limit=100))
    if state.output.as_json:
        state.output.item({"order": shown, "history": history}, {})
        return
    state.output.item(
        shown,
        {
            "order": shown.id,
            "status": shown.status,
            "courses": [each.title for each in shown.courses] or shown.course_title,
            "amount": money(shown.amount_minor, shown.currency),
            "refunded": shown.refunded_minor,
            "paid": shown.paid_at,
        },
    )
    columns: list[Column] = [
        ("at", lambda each: each.at),
        ("step", lambda each: each.step),
        ("provider", lambda each: each.provider),
        ("detail", lambda each: each.detail),
    ]
    state.output.items(history, columns, title="History")


@refunds.command("list")
def list_refunds(
    context: typer.Context,
    order: Annotated[str, typer.Option(help="Of this order.")] = "",
    status: str = "",
) -> None:
    """List refunds, newest first."""
    state = state_of(context)
    found = (
        [each for each in state.client.list_order_refunds(order, limit=100) if status in {"", each.status}]
        if order
        else state.client.list_refunds(status=status or None, limit=100)  # type: ignore[arg-type]
    )
    state.output.items(found, _REFUND_COLUMNS)


@refunds.command("create")
def create_refund(
    context: typer.Context,
    order: str,
    reason: Annotated[str, typer.Option(help="Internal note; not shown to the buyer.")],
    amount_minor: Annotated[int | None, typer.Option(help="In minor units; else all that is left.")] = None,
    keep_access: Annotated[bool, typer.Option("--keep-access", help="Also after a full refund.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Refund an order fully or in part."""
    state = state_of(context)
    shown = state.client.get_order(order)
    amount = money(amount_minor, shown.currency) if amount_minor else "all that is left"
    state.confirm(f"Refund {amount} of {shown.course_title} (order {shown.id})?", yes=yes)
    body = models.RefundRequest(reason=reason, amount_minor=amount_minor, keeps_access=keep_access)
    refund = state.client.create_refund(order, body)
    state.output.done(f"Refund {refund.id}: {money(refund.amount_minor, refund.currency)}, {refund.status}.", refund)
