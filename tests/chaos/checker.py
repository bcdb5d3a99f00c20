"""Whether every promise was kept: pure functions over what was read when all was quiet again.

In the manner of Jepsen: clients write down what they were told, the platform is read to the last row, and each check
compares the two, or two readings that must agree. A finding is a broken promise.
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
    """What a client was told: that a command was carried out, or (``refused …``) that it was not."""

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
    """A promise that was broken."""

    check: str
    text: str


@dataclass(frozen=True)
class SystemSnapshot:
    """All that there is to see, read at rest."""

    outbox: list[Row] = field(default_factory=list)
    topics: list[Row] = field(default_factory=list)  # in the order of their partition
    inbox: set[tuple[str, str]] = field(default_factory=set)  # handler, event
    dead_letters: Collection[tuple[str, str]] = ()
    tables: dict[str, list[Any]] = field(default_factory=dict)
    charges: list[Row] = field(default_factory=list)  # what the provider has really taken
    mails: list[Row] = field(default_factory=list)
    deliveries: list[Row] = field(default_factory=list)
    redis_lists: dict[str, int] = field(default_factory=dict)  # what waits in Redis: by key, how much
    undelivered_webhooks: int = 0  # of the provider's, that nobody has accepted
    handlers: Mapping[str, list[str]] = field(default_factory=dict)  # bridge/routes.py

    def table(self, name: str) -> list[Row]:
        return self.tables.get(name, [])

    def for_users(self, users: Collection[str]) -> "SystemSnapshot":
        """The same, of these users only."""
        users = set(users)
        tables = {
            name: [row for row in rows if str(row.get("user_id", row.get("id"))) in users]
            for name, rows in self.tables.items()
            if not name.startswith(("payments.attempts", "payments.refunds", "payments.ledger", "payments.offers"))
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
                    for name in ("payments.attempts", "payments.refunds")
                },
            },
            charges=[charge for charge in self.charges if charge["order_id"] in orders],
            mails=[mail for mail in self.mails if addresses & set(mail["to"])],
            deliveries=[row for row in self.deliveries if row["user_id"] in users],
            redis_lists={},  # anybody's
            undelivered_webhooks=0,
        )


def _user_of(event: Row) -> str | None:
    """The person whom an event is about."""
    payload = event["payload"]
    return payload.get("user_id") or (payload["instructor_id"] if event["type"] == "COURSE_CREATED" else None)


Check = Callable[[SystemSnapshot, Collection[ClientRecord]], Iterator[str]]
CHECKS: list[Check] = []


def check(fn: Check) -> Check:
    """Have ``findings`` ask this too: it yields a sentence for each broken promise."""
    CHECKS.append(fn)
    return fn


def findings(snapshot: SystemSnapshot, records: Collection[ClientRecord] = ()) -> list[Finding]:
    """Each broken promise; nothing where all were kept."""
    from . import checks  # noqa: PLC0415 they are made of what is above

    for module in pkgutil.iter_modules(checks.__path__, f"{checks.__name__}."):
        importlib.import_module(module.name)
    return [
        Finding(check=each.__name__.replace("_", " "), text=text) for each in CHECKS for text in each(snapshot, records)
    ]


def duplicates(snapshot: SystemSnapshot) -> list[Finding]:
    """What came twice: allowed where something was cut off, and a finding where nothing was."""
    events = Counter((row["topic"], row["type"], row["id"]) for row in snapshot.topics)
    mails = Counter(mail["headers"]["Message-ID"] for mail in snapshot.mails)
    return [
        Finding(check="nothing was sent twice", text=f"{what} came {times} times")
        for what, times in [*events.items(), *mails.items()]
        if times > 1
    ]


def count_duplicate_mails(snapshot: SystemSnapshot) -> int:
    """How many mails came again with the same Message-ID: allowed where SMTP was cut off, and counted."""
    return len(snapshot.mails) - len({mail["headers"]["Message-ID"] for mail in snapshot.mails})


def grouped(rows: Iterable[Row], *columns: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by what they have in these columns."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[column] for column in columns)].append(row)
    return groups
