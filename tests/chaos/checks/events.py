"""Events: all of the outbox is on the topics, in order, and handled."""

from collections.abc import Collection, Iterator

from tests.chaos.checker import Reading, Told, check, grouped

# The table of each kind of aggregate: its topic, its name, the columns that make its key.
AGGREGATES = {
    "users.users": ("users", ("id",)),
    "courses.courses": ("courses", ("id",)),
    "courses.enrollments": ("courses", ("id",)),
    "payments.orders": ("payments", ("id",)),
    "progress.course_progress": ("progress", ("user_id", "course_id")),
    "notifications.recipients": ("notifications", ("user_id",)),
}


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
    for key, rows in grouped(reading.topics, "topic", "key").items():
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
        for key, rows in grouped(reading.outbox, "aggregatetype", "aggregateid").items()
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
def nothing_waits(reading: Reading, _told: Collection[Told]) -> Iterator[str]:
    yield from (f"{length} wait in {name}" for name, length in reading.lists.items() if length)
    if reading.notices:
        yield f"{reading.notices} webhooks were not accepted"
