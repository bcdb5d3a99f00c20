"""Events: every event of the outbox is on its topic in order and was handled."""

from collections.abc import Collection, Iterator

from tests.chaos.checker import ClientRecord, SystemSnapshot, check, grouped

# The topic and the key columns of each aggregate table.
AGGREGATES = {
    "users.users": ("users", ("id",)),
    "courses.courses": ("courses", ("id",)),
    "courses.enrollments": ("courses", ("id",)),
    "payments.orders": ("payments", ("id",)),
    "progress.course_progress": ("progress", ("user_id", "course_id")),
    "notifications.notification_sequences": ("notifications", ("user_id",)),
}


@check
def events_are_on_their_topics(snapshot: SystemSnapshot, _records: Collection[ClientRecord]) -> Iterator[str]:
    written = {(row["id"], row["aggregatetype"], row["aggregateid"], row["type"]) for row in snapshot.outbox}
    read = {(row["id"], row["topic"], row["key"], row["type"]) for row in snapshot.topics}
    yield from (f"{event} is in the outbox, but not on the topic" for event in sorted(written - read))
    yield from (f"{event} is on the topic, but not in the outbox" for event in sorted(read - written))
    for row in snapshot.outbox:
        if row["published_at"] is None:
            yield f"{row['type']} {row['id']} is not marked as published"


@check
def versions_are_contiguous_and_in_order(snapshot: SystemSnapshot, _records: Collection[ClientRecord]) -> Iterator[str]:
    for key, rows in grouped(snapshot.topics, "topic", "key").items():
        if len({row["partition"] for row in rows}) > 1:
            yield f"{key} is on more than one partition"
        reached = 0
        for row in rows:  # repetitions are allowed, gaps and reordering are not
            if row["sequence"] > reached + 1:
                yield f"{key} goes from version {reached} to {row['sequence']}"
            reached = max(reached, row["sequence"])
        if len({row["id"] for row in rows}) != len({row["sequence"] for row in rows}):
            yield f"{key} has two events with one version"


@check
def aggregate_versions_match_events(snapshot: SystemSnapshot, _records: Collection[ClientRecord]) -> Iterator[str]:
    versions = {
        key: sorted(row["aggregate_version"] for row in rows)
        for key, rows in grouped(snapshot.outbox, "aggregatetype", "aggregateid").items()
    }
    for key, counted in versions.items():
        if counted != list(range(1, len(counted) + 1)):
            yield f"{key} has the versions {counted}"
    for table, (topic, columns) in AGGREGATES.items():
        for row in snapshot.table(table):
            published = len(versions.get((topic, ":".join(row[column] for column in columns)), []))
            if row["version"] != published:
                key_values = [row[column] for column in columns]
                yield f"{table} {key_values} has version {row['version']}, but {published} events"


@check
def events_are_handled(snapshot: SystemSnapshot, _records: Collection[ClientRecord]) -> Iterator[str]:
    settled = {*snapshot.inbox, *snapshot.dead_letters}
    for event in snapshot.outbox:
        for handler in snapshot.handlers.get(event["type"], []):
            if (handler, event["id"]) not in settled:
                yield f"{handler} has not handled {event['type']} {event['id']}"
    known = {event["id"] for event in snapshot.outbox}
    yield from (
        f"{handler} has handled {event}, which does not exist"
        for handler, event in snapshot.inbox
        if event not in known
    )


@check
def no_pending_work(snapshot: SystemSnapshot, _records: Collection[ClientRecord]) -> Iterator[str]:
    yield from (f"{length} messages wait in {name}" for name, length in snapshot.redis_lists.items() if length)
    if snapshot.undelivered_webhooks:
        yield f"{snapshot.undelivered_webhooks} webhooks were not accepted"
