"""Whether every promise was kept: pure functions over what was read when all was quiet again.

In the manner of Jepsen: clients write down what they were told, the platform is read to the last row, and each check
compares the two, or two readings that must agree. A finding is a broken promise.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid5

Row = Mapping[str, Any]  # ids are text

# Which events are told by e-mail; said here once more, so that the checker does not believe the code that it checks.
MAILED = (
    *("USER_CREATED", "ENROLLMENT_CREATED", "PAYMENT_SUCCEEDED"),
    *("PAYMENT_FAILED", "PAYMENT_REFUNDED", "LESSON_COMPLETED", "COURSE_COMPLETED"),
    "CERTIFICATE_ISSUED",
)
# What an order is called whose money has come.
PAID = {"paid", "partially_refunded", "refunded"}
# The table of each kind of aggregate: its topic, its name, the columns that make its key.
AGGREGATES = {
    "users.users": ("users", ("id",)),
    "courses.courses": ("courses", ("id",)),
    "courses.enrollments": ("courses", ("id",)),
    "payments.orders": ("payments", ("id",)),
    "progress.course_progress": ("progress", ("user_id", "course_id")),
    "notifications.recipients": ("notifications", ("user_id",)),
}


@dataclass(frozen=True, kw_only=True)
class Told:
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
class Reading:
    """All that there is to see, read at rest."""

    outbox: list[Row] = field(default_factory=list)
    topics: list[Row] = field(default_factory=list)  # in the order of their partition
    inbox: set[tuple[str, str]] = field(default_factory=set)  # handler, event
    dead_letters: Collection[tuple[str, str]] = ()
    tables: dict[str, list[Any]] = field(default_factory=dict)
    charges: list[Row] = field(default_factory=list)  # what the provider has really taken
    mails: list[Row] = field(default_factory=list)
    deliveries: list[Row] = field(default_factory=list)
    lists: dict[str, int] = field(default_factory=dict)  # what waits in Redis: by key, how much
    notices: int = 0  # of the provider's, that nobody has accepted
    handlers: Mapping[str, list[str]] = field(default_factory=dict)  # bridge/routes.py

    def table(self, name: str) -> list[Row]:
        return self.tables.get(name, [])

    def about(self, users: Collection[str]) -> "Reading":
        """The same, of these users only."""
        users = set(users)
        tables = {
            name: [row for row in rows if str(row.get("user_id", row.get("id"))) in users]
            for name, rows in self.tables.items()
            if not name.startswith(("payments.attempts", "payments.refunds", "payments.ledger", "payments.offers"))
            and name != "progress.outlines"
        }
        orders = {row["id"] for row in tables.get("payments.orders", [])}
        outbox = [row for row in self.outbox if _whom(row) in users]
        ids = {row["id"] for row in outbox}
        addresses = {row["email"] for row in tables.get("users.users", [])}
        return replace(
            self,
            outbox=outbox,
            topics=[row for row in self.topics if _whom(row) in users],
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
            lists={},  # anybody's
            notices=0,
        )


def _whom(event: Row) -> str | None:
    """The person whom an event is about."""
    payload = event["payload"]
    return payload.get("user_id") or (payload["instructor_id"] if event["type"] == "COURSE_CREATED" else None)


Check = Callable[[Reading, Collection[Told]], Iterator[str]]
CHECKS: list[Check] = []


def check(fn: Check) -> Check:
    CHECKS.append(fn)
    return fn


def findings(reading: Reading, told: Collection[Told] = ()) -> list[Finding]:
    """Each broken promise; nothing where all were kept."""
    return [
        Finding(check=each.__name__.replace("_", " "), text=text) for each in CHECKS for text in each(reading, told)
    ]


def repeats(reading: Reading) -> list[Finding]:
    """What came twice: allowed where something was cut off, and a finding where nothing was."""
    events = Counter((row["topic"], row["type"], row["id"]) for row in reading.topics)
    mails = Counter(mail["headers"]["Message-ID"] for mail in reading.mails)
    return [
        Finding(check="nothing was sent twice", text=f"{what} came {times} times")
        for what, times in [*events.items(), *mails.items()]
        if times > 1
    ]


def repeated_mails(reading: Reading) -> int:
    """How many mails came again with the same Message-ID: allowed where SMTP was cut off, and counted."""
    return len(reading.mails) - len({mail["headers"]["Message-ID"] for mail in reading.mails})


@check
def what_was_acknowledged_took_effect_once(reading: Reading, told: Collection[Told]) -> Iterator[str]:
    happened = Counter(_happenings(reading.outbox))
    for each in told:
        for effect in _effects(each):
            if happened[effect] != 1:
                yield f"{each} was acknowledged, and {effect} is there {happened[effect]} times"


def _effects(told: Told) -> list[tuple[str, ...]]:
    effects: dict[str, list[tuple[str, ...]]] = {
        "registered": [("USER_CREATED", told.user_id)],
        "enrolled": [
            ("ENROLLMENT_CREATED", told.user_id, told.course_id),
            ("COURSE_STARTED", told.user_id, told.course_id),
        ],
        "ordered": [("ORDER_CREATED", told.order_id)],
        "paid": [
            ("PAYMENT_SUCCEEDED", told.order_id),
            ("COURSE_PURCHASED", told.order_id),
            ("ENROLLMENT_CREATED", told.user_id, told.course_id),
            ("COURSE_STARTED", told.user_id, told.course_id),
        ],
        "refunded": [("PAYMENT_REFUNDED", told.refund_id)],
        "written": [("COURSE_CREATED", told.course_id)],
        "completed": [("LESSON_COMPLETED", told.user_id, told.course_id, told.lesson_id)],
    }
    return effects.get(told.what, [])


def _happenings(outbox: Iterable[Row]) -> Iterator[tuple[str, ...]]:
    """Each event as what it says has happened."""
    by = {
        "USER_CREATED": ("user_id",),
        "ENROLLMENT_CREATED": ("user_id", "course_id"),
        "COURSE_STARTED": ("user_id", "course_id"),
        "ORDER_CREATED": ("order_id",),
        "PAYMENT_SUCCEEDED": ("order_id",),
        "PAYMENT_FAILED": ("order_id",),
        "COURSE_PURCHASED": ("order_id",),
        "PAYMENT_REFUNDED": ("refund_id",),
        "ENROLLMENT_ENDED": ("enrollment_id",),
        "LESSON_COMPLETED": ("user_id", "course_id", "lesson_id"),
        "COURSE_COMPLETED": ("user_id", "course_id"),
        "CERTIFICATE_ISSUED": ("user_id", "course_id"),
        "COURSE_CREATED": ("course_id",),
        "NOTIFICATION_SENT": ("notification_id",),
        "NOTIFICATION_FAILED": ("notification_id",),
    }
    for event in outbox:
        if fields := by.get(event["type"]):
            yield (event["type"], *(str(event["payload"][name]) for name in fields))


@check
def nothing_happened_twice(reading: Reading, _told: Collection[Told]) -> Iterator[str]:
    for happening, times in Counter(_happenings(reading.outbox)).items():
        if times > 1 and happening[0] != "PAYMENT_FAILED":  # one for each attempt
            yield f"{happening} happened {times} times"
    for order, orders in _grouped(reading.table("payments.orders"), "user_id", "course_id").items():
        if sum(row["status"] in {"paid", "pending"} for row in orders) > 1:
            yield f"{order} was ordered {len(orders)} times"
    courses = [row["payload"] for row in reading.outbox if row["type"] == "COURSE_CREATED"]
    for course, written in _grouped(courses, "instructor_id", "title").items():
        if len(written) > 1:
            yield f"{course} was written {len(written)} times"


@check
def what_was_refused_had_no_effect(reading: Reading, told: Collection[Told]) -> Iterator[str]:
    happened = set(_happenings(reading.outbox))
    for each in told:
        refused = {
            "refused payment": ("PAYMENT_SUCCEEDED", each.order_id),
            "refused completion": ("LESSON_COMPLETED", each.user_id, each.course_id, each.lesson_id),
        }
        if refused.get(each.what) in happened:
            yield f"{each}, and it happened"
        if each.what == "refused order" and any(
            (row["user_id"], row["course_id"]) == (each.user_id, each.course_id)
            for row in reading.table("payments.orders")
        ):
            yield f"{each}, and there is an order"


@check
def every_event_is_on_its_topic(reading: Reading, _told: Collection[Told]) -> Iterator[str]:
    written = {(row["id"], row["aggregatetype"], row["aggregateid"], row["type"]) for row in reading.outbox}
    read = {(row["id"], row["topic"], row["key"], row["type"]) for row in reading.topics}
    yield from (f"{event} is in the outbox, and not on the topic" for event in sorted(written - read))
    yield from (f"{event} is on the topic, and not in the outbox" for event in sorted(read - written))
    for row in reading.outbox:
        if row["published_at"] is None:
            yield f"{row['type']} {row['id']} is not marked as published"


@check
def versions_are_contiguous_and_in_order(reading: Reading, _told: Collection[Told]) -> Iterator[str]:
    for key, rows in _grouped(reading.topics, "topic", "key").items():
        if len({row["partition"] for row in rows}) > 1:
            yield f"{key} is on more than one partition"
        reached = 0
        for row in rows:  # repeats are allowed, gaps are not, nor is a later one before an earlier one
            if row["sequence"] > reached + 1:
                yield f"{key} goes from version {reached} to {row['sequence']}"
            reached = max(reached, row["sequence"])
        if len({row["id"] for row in rows}) != len({row["sequence"] for row in rows}):
            yield f"{key} has two events with one version"


@check
def aggregates_count_their_events(reading: Reading, _told: Collection[Told]) -> Iterator[str]:
    versions = {
        key: sorted(row["aggregate_version"] for row in rows)
        for key, rows in _grouped(reading.outbox, "aggregatetype", "aggregateid").items()
    }
    for key, counted in versions.items():
        if counted != list(range(1, len(counted) + 1)):
            yield f"{key} has the versions {counted}"
    for table, (topic, columns) in AGGREGATES.items():
        for row in reading.table(table):
            told = len(versions.get((topic, ":".join(row[column] for column in columns)), []))
            if row["version"] != told:
                yield f"{table} {[row[column] for column in columns]} has version {row['version']}, and {told} events"


@check
def every_event_was_handled(reading: Reading, _told: Collection[Told]) -> Iterator[str]:
    settled = {*reading.inbox, *reading.dead_letters}
    for event in reading.outbox:
        for handler in reading.handlers.get(event["type"], []):
            if (handler, event["id"]) not in settled:
                yield f"{handler} has not done {event['type']} {event['id']}"
    known = {event["id"] for event in reading.outbox}
    yield from (
        f"{handler} has done {event}, which never was" for handler, event in reading.inbox if event not in known
    )


@check
def projections_are_the_fold_of_events(reading: Reading, _told: Collection[Told]) -> Iterator[str]:
    for name, (fold, columns) in _PROJECTIONS.items():
        shown = {tuple(row[column] for column in columns) for row in reading.table(name)}
        folded = set(fold(_by_type(reading.outbox)))
        yield from (f"{name} has {row}, and no event says so" for row in sorted(shown - folded, key=str))
        yield from (f"{name} lacks {row}" for row in sorted(folded - shown, key=str))


Events = Mapping[str, list[Row]]  # the payloads of each type, in their order


def _contacts(events: Events) -> Iterator[tuple[Any, ...]]:
    told: dict[str, tuple[int, Row]] = {}
    for payload in events["USER_CREATED"]:
        told[payload["user_id"]] = (1, payload["pii"])
    for payload in events["USER_UPDATED"]:
        told[payload["user_id"]] = (payload["version"], payload["pii"])
    for user_id, (version, pii) in told.items():
        yield (user_id, version, pii["email"], pii["name"], pii["locale"], pii["timezone"])


def _profiles(events: Events) -> Iterator[tuple[Any, ...]]:
    updated = {payload["user_id"]: payload for payload in events["USER_UPDATED"]}
    for user_id, payload in updated.items():
        yield (user_id, payload["pii"]["email"], payload["pii"]["name"])


def _progress(events: Events) -> Iterator[tuple[Any, ...]]:
    done = Counter((payload["user_id"], payload["course_id"]) for payload in events["LESSON_COMPLETED"])
    for payload in events["COURSE_STARTED"]:
        learner = (payload["user_id"], payload["course_id"])
        yield (*learner, done[learner], payload["lessons_total"])


def _completed(events: Events) -> Iterator[tuple[Any, ...]]:
    for payload in events["LESSON_COMPLETED"]:
        yield (payload["user_id"], payload["course_id"], payload["lesson_id"])


def _enrollments(events: Events) -> Iterator[tuple[Any, ...]]:
    done = Counter((payload["user_id"], payload["course_id"]) for payload in events["LESSON_COMPLETED"])
    for payload in events["ENROLLMENT_CREATED"]:
        learner = (payload["user_id"], payload["course_id"])
        yield (payload["enrollment_id"], *learner, done[learner])


def _grants(events: Events) -> Iterator[tuple[Any, ...]]:
    for payload in events["ENROLLMENT_CREATED"]:
        yield (payload["user_id"], payload["course_id"], payload["source"], payload["source_id"])


def _outlines(events: Events) -> Iterator[tuple[Any, ...]]:
    for payload in events["COURSE_PUBLISHED"]:
        yield (payload["course_id"], payload["course_version"], payload["title"])


def _by_type(outbox: Iterable[Row]) -> Events:
    events: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(outbox, key=lambda row: row["aggregate_version"]):
        events[row["type"]].append(row["payload"])
    return events


_PROJECTIONS: dict[str, tuple[Callable[[Events], Iterator[tuple[Any, ...]]], tuple[str, ...]]] = {
    "notifications.contacts": (_contacts, ("user_id", "version", "email", "name", "locale", "timezone")),
    "users.users": (_profiles, ("id", "email", "name")),
    "progress.course_progress": (_progress, ("user_id", "course_id", "lessons_completed", "lessons_total")),
    "progress.completed_lessons": (_completed, ("user_id", "course_id", "lesson_id")),
    "progress.outlines": (_outlines, ("course_id", "course_version", "title")),
    "courses.enrollments": (_enrollments, ("id", "user_id", "course_id", "lessons_completed")),
    "courses.grants": (_grants, ("user_id", "course_id", "source", "source_id")),
}


@check
def money_was_taken_once_and_is_accounted_for(reading: Reading, told: Collection[Told]) -> Iterator[str]:
    charged = _grouped(reading.charges, "order_id")
    paid = {event["payload"]["order_id"] for event in reading.outbox if event["type"] == "PAYMENT_SUCCEEDED"}
    for order in reading.table("payments.orders"):
        charges = charged.pop((order["id"],), [])
        if len(charges) != (order["status"] in PAID):
            yield f"order {order['id']} is {order['status']}, and charged {len(charges)} times"
        if (order["status"] in PAID) != (order["id"] in paid):
            yield f"order {order['id']} is {order['status']}, and its events say another thing"
        for charge in charges:
            costs, taken = ((each["amount_minor"], each["currency"]) for each in (order, charge))
            if costs != taken:
                yield f"order {order['id']} costs {costs}, and the provider took {taken}"
    yield from (f"charges for order {order_id}, which does not exist" for (order_id,) in charged)
    ours = sum(row["captured_minor"] for row in reading.table("payments.attempts"))
    theirs = sum(charge["amount_minor"] for charge in reading.charges)
    if ours != theirs:
        yield f"we count {ours}, the provider {theirs}"
    for each in told:
        if each.what == "refused payment" and charged.get((each.order_id,)):
            yield f"{each}, and it was charged"


@check
def what_went_back_is_what_was_promised(reading: Reading, told: Collection[Told]) -> Iterator[str]:
    promised: Counter[str] = Counter()
    for each in told:
        if each.what == "refunded":
            promised[each.order_id] += each.amount_minor
    ours: Counter[str] = Counter()
    for row in reading.table("payments.refunds"):
        if row["status"] == "succeeded":
            ours[row["order_id"]] += row["amount_minor"]
    ended = {row["source_id"] for row in reading.table("courses.grants") if row.get("status") == "revoked"}
    statuses = {order["id"]: order["status"] for order in reading.table("payments.orders")}
    for charge in reading.charges:
        order_id, theirs = charge["order_id"], charge.get("refunded_minor", 0)
        if not theirs == ours[order_id] == promised[order_id] <= charge["amount_minor"]:
            yield f"of order {order_id} {theirs} went back; {ours[order_id]} we count, {promised[order_id]} we promised"
        all_of_it = theirs == charge["amount_minor"]
        if (statuses.get(order_id) == "refunded") != all_of_it or (order_id in ended) != all_of_it:
            yield f"order {order_id} is {statuses.get(order_id)}, access ended: {order_id in ended}, {theirs} went back"


@check
def the_ledger_sums_to_zero(reading: Reading, _told: Collection[Told]) -> Iterator[str]:
    entries = reading.table("payments.ledger_entries")
    for key, rows in _grouped(entries, "transaction_id", "currency").items():
        if total := sum(row["amount_minor"] for row in rows):
            yield f"{key} is off by {total}"
    if entries:
        booked = sum(row["amount_minor"] for row in entries if row["account"].startswith("provider."))
        held = sum(charge["amount_minor"] - charge.get("refunded_minor", 0) for charge in reading.charges)
        if booked != held:
            yield f"{booked} are booked as held by the provider, who holds {held}"


@check
def one_mail_for_each_event_and_recipient(reading: Reading, _told: Collection[Told]) -> Iterator[str]:
    due = {_mail_of(event["id"], event["payload"]["user_id"]): event for event in _mailed(reading)}
    # Time alone sends these, where what they remind of still lasts.
    reminders = {_mail_of(row["id"], row["user_id"]) for row in reading.table("notifications.reminders")}
    sent = {mail["headers"]["Message-ID"].strip("<>").partition("@")[0] for mail in reading.mails}
    yield from (f"no mail tells of {due[each]['type']} {due[each]['id']}" for each in sorted(due.keys() - sent))
    yield from (f"nothing happened that mail {each} tells of" for each in sorted(sent - due.keys() - reminders))
    ended = Counter(
        event["payload"]["notification_id"] for event in reading.outbox if event["type"] == "NOTIFICATION_SENT"
    )
    yield from (f"mail {each} is told {ended[each]} times as sent" for each in due if ended[each] != 1)
    for row in reading.deliveries:
        if row["channel"] == "email" and row["state"] not in {"sent", "skipped"}:
            yield f"delivery {row['_id']} is {row['state']}"


def _mailed(reading: Reading) -> Iterator[Row]:
    yield from (event for event in reading.outbox if event["type"] in MAILED)


def _mail_of(told_id: str, user_id: str) -> str:
    return str(uuid5(UUID(told_id), f"{user_id}/email"))


@check
def one_note_for_each_event_and_recipient(reading: Reading, _told: Collection[Told]) -> Iterator[str]:
    due = Counter((event["id"], event["payload"]["user_id"]) for event in _mailed(reading))
    reminders = {(row["id"], row["user_id"]) for row in reading.table("notifications.reminders")}
    shown = Counter((row["event_id"], row["user_id"]) for row in reading.deliveries if row["channel"] == "in_app")
    for each in due | shown:
        if shown[each] != due[each] and not (each in reminders and shown[each] == 1):
            yield f"{shown[each]} notes tell of {each}"


@check
def nothing_waits(reading: Reading, _told: Collection[Told]) -> Iterator[str]:
    yield from (f"{length} wait in {name}" for name, length in reading.lists.items() if length)
    if reading.notices:
        yield f"{reading.notices} webhooks were not accepted"


def _grouped(rows: Iterable[Row], *columns: str) -> dict[tuple[Any, ...], list[Row]]:
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[column] for column in columns)].append(row)
    return groups
