"""Checks of the guarantees of the platform: pure functions over a snapshot of the idle system.

Like Jepsen: clients record the outcomes of their commands, the snapshot contains all data of the platform, and each
check compares the records with the snapshot, or two parts of the snapshot. A finding is a violated guarantee.
"""

import importlib
import pkgutil
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Row = Mapping[str, Any]  # ids are text


@dataclass(frozen=True, kw_only=True)
class ClientRecord:
    """The outcome of a command that a client received: executed, or (``refused …``) rejected."""

    # registered, enrolled, ordered, paid, refunded, completed; refused payment, refused completion, refused order
    what: str
    user_id: str
    course_id: str = ""
    lesson_id: str = ""
    order_id: str = ""
    refund_id: str = ""
    amount_minor: int = 0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A violated guarantee."""

    check: str
    text: str


@dataclass(frozen=True)
class SystemSnapshot:
    """All data of the platform, read while it is idle."""

    outbox: list[Row] = field(default_factory=list)
    topics: list[Row] = field(default_factory=list)  # in partition order
    inbox: set[tuple[str, str]] = field(default_factory=set)  # handler, event
    dead_letters: Collection[tuple[str, str]] = ()
    tables: dict[str, list[Any]] = field(default_factory=dict)
    charges: list[Row] = field(default_factory=list)  # captured by the provider
    mails: list[Row] = field(default_factory=list)
    deliveries: list[Row] = field(default_factory=list)
    redis_lists: dict[str, int] = field(default_factory=dict)  # lengths of the Redis lists by key
    undelivered_webhooks: int = 0  # webhooks of the provider that were not accepted
    handlers: Mapping[str, list[str]] = field(default_factory=dict)  # models/events/routes.py

    def table(self, name: str) -> list[Row]:
        return self.tables.get(name, [])

    def for_users(self, users: Collection[str]) -> "SystemSnapshot":
        """Return the part of the snapshot that belongs to these users."""
        users = set(users)
        tables = {
            name: [row for row in rows if str(row.get("user_id", row.get("id"))) in users]
            for name, rows in self.tables.items()
            if not name.startswith(
                ("payments.payment_attempts", "payments.refunds", "payments.ledger", "payments.offers")
            )
            and name != "progress.outlines"
        }
        orders = {row["id"] for row in tables.get("payments.orders", [])}
        outbox = [row for row in self.outbox if _user_of(row) in users]
        ids = {row["id"] for row in outbox}
        addresses = {row["email"] for row in tables.get("users.users", [])}
        return replace(
            self,
            outbox=outbox,
            topics=[row for row in self.topics if _user_of(row) in users],
            inbox={(handler, event) for handler, event in self.inbox if event in ids},
            tables={
                **tables,
                **{
                    name: [row for row in self.table(name) if row["order_id"] in orders]
                    for name in ("payments.payment_attempts", "payments.refunds")
                },
            },
            charges=[charge for charge in self.charges if charge["order_id"] in orders],
            mails=[mail for mail in self.mails if addresses & set(mail["to"])],
            deliveries=[row for row in self.deliveries if row["user_id"] in users],
            redis_lists={},  # cannot be assigned to users
            undelivered_webhooks=0,
        )


def _user_of(event: Row) -> str | None:
    """Return the id of the user that an event belongs to."""
    payload = event["payload"]
    return payload.get("user_id") or (payload["instructor_id"] if event["type"] == "COURSE_CREATED" else None)


Check = Callable[[SystemSnapshot, Collection[ClientRecord]], Iterator[str]]
CHECKS: list[Check] = []


def check(fn: Check) -> Check:
    """Register a check; it yields a sentence for each violated guarantee."""
    CHECKS.append(fn)
    return fn


def findings(snapshot: SystemSnapshot, records: Collection[ClientRecord] = ()) -> list[Finding]:
    """Return the findings of all checks."""
    from . import checks  # noqa: PLC0415 the checks import this module

    for module in pkgutil.iter_modules(checks.__path__, f"{checks.__name__}."):
        importlib.import_module(module.name)
    return [
        Finding(check=each.__name__.replace("_", " "), text=text) for each in CHECKS for text in each(snapshot, records)
    ]


def duplicates(snapshot: SystemSnapshot) -> list[Finding]:
    """Return events and mails that were sent twice: allowed after crashes, a finding without them."""
    events = Counter((row["topic"], row["type"], row["id"]) for row in snapshot.topics)
    mails = Counter(mail["headers"]["Message-ID"] for mail in snapshot.mails)
    return [
        Finding(check="nothing was sent twice", text=f"{what} was sent {times} times")
        for what, times in [*events.items(), *mails.items()]
        if times > 1
    ]


def count_duplicate_mails(snapshot: SystemSnapshot) -> int:
    """Return the number of mails with a repeated Message-ID, which are allowed if an SMTP connection broke."""
    return len(snapshot.mails) - len({mail["headers"]["Message-ID"] for mail in snapshot.mails})


def grouped(rows: Iterable[Row], *columns: str) -> dict[tuple[Any, ...], list[Row]]:
    """Group the rows by the values of these columns."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[column] for column in columns)].append(row)
    return groups
