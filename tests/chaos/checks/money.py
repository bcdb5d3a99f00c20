"""Money: captured once, refunded as requested, and booked in the ledger."""

from collections import Counter
from collections.abc import Collection, Iterator

from tests.chaos.checker import ClientRecord, SystemSnapshot, check, grouped

# Statuses of orders with a capture.
PAID = {"paid", "partially_refunded", "refunded", "disputed", "charged_back"}


@check
def money_is_captured_once_and_accounted_for(
    snapshot: SystemSnapshot, records: Collection[ClientRecord]
) -> Iterator[str]:
    charged = grouped(snapshot.charges, "order_id")
    paid = {event["payload"]["order_id"] for event in snapshot.outbox if event["type"] == "PAYMENT_SUCCEEDED"}
    for order in snapshot.table("payments.orders"):
        charges = charged.pop((order["id"],), [])
        if len(charges) != (order["status"] in PAID):
            yield f"order {order['id']} is {order['status']}, but was charged {len(charges)} times"
        if (order["status"] in PAID) != (order["id"] in paid):
            yield f"order {order['id']} is {order['status']}, but its events do not match"
        for charge in charges:
            costs, captured = ((each["amount_minor"], each["currency"]) for each in (order, charge))
            if costs != captured:
                yield f"order {order['id']} costs {costs}, but the provider captured {captured}"
    yield from (f"charges for order {order_id}, which does not exist" for (order_id,) in charged)
    ours = sum(row["captured_minor"] for row in snapshot.table("payments.payment_attempts"))
    theirs = sum(charge["amount_minor"] for charge in snapshot.charges)
    if ours != theirs:
        yield f"the attempts sum to {ours}, the provider's charges to {theirs}"
    for each in records:
        if each.what == "refused payment" and charged.get((each.order_id,)):
            yield f"{each}, but it was charged"


@check
def refunds_match_requests(snapshot: SystemSnapshot, records: Collection[ClientRecord]) -> Iterator[str]:
    requested: Counter[str] = Counter()
    for each in records:
        if each.what == "refunded":
            requested[each.order_id] += each.amount_minor
    ours: Counter[str] = Counter()
    for row in snapshot.table("payments.refunds"):
        if row["status"] == "succeeded":
            ours[row["order_id"]] += row["amount_minor"]
    ended = {row["source_id"] for row in snapshot.table("courses.grants") if row.get("status") == "revoked"}
    statuses = {order["id"]: order["status"] for order in snapshot.table("payments.orders")}
    for charge in snapshot.charges:
        order_id, theirs = charge["order_id"], charge.get("refunded_minor", 0)
        if not theirs == ours[order_id] == requested[order_id] <= charge["amount_minor"]:
            yield f"order {order_id}: refunded {theirs}, recorded {ours[order_id]}, requested {requested[order_id]}"
        is_full_refund = theirs == charge["amount_minor"]
        if (statuses.get(order_id) == "refunded") != is_full_refund or (order_id in ended) != is_full_refund:
            yield f"order {order_id} is {statuses.get(order_id)}, access ended: {order_id in ended}, refunded {theirs}"


@check
def ledger_sums_to_zero(snapshot: SystemSnapshot, _records: Collection[ClientRecord]) -> Iterator[str]:
    entries = snapshot.table("payments.ledger_entries")
    for key, rows in grouped(entries, "transaction_id", "currency").items():
        if total := sum(row["amount_minor"] for row in rows):
            yield f"{key} is off by {total}"
    if entries:
        booked = sum(row["amount_minor"] for row in entries if row["account"].startswith("provider."))
        balance = sum(charge["amount_minor"] - charge.get("refunded_minor", 0) for charge in snapshot.charges)
        if booked != balance:
            yield f"{booked} is booked as the balance at the provider, which is {balance}"
