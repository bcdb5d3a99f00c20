"""The loss of the log changes no data that is 60 days old, although inbox and idempotency keys are pruned."""

from settings import SERVICES
from tests.integration.workers.test_redelivery import differences
from tests.support import databases
from tests.support.deliveries import deliver
from tests.support.polling import eventually

from .chaos_platform import ChaosPlatform, Learner
from .snapshot import take_snapshot

_AGE = (
    """UPDATE bus.inbox SET handled_at = handled_at - interval '60 days'
    WHERE event_id IN (SELECT id FROM bus.outbox WHERE payload ->> 'user_id' = :user)""",
    """UPDATE bus.outbox SET created_at = created_at - interval '60 days',
    published_at = published_at - interval '60 days' WHERE payload ->> 'user_id' = :user""",
    """UPDATE bus.idempotency_keys SET created_at = created_at - interval '60 days'
    WHERE scope LIKE '%' || (SELECT sub FROM users.users WHERE id = CAST(:user AS uuid)) || '%'""",
)
_TABLES = """
    SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'
    AND table_schema = ANY(:schemas)
    AND table_name <> 'facts' -- a job reads them from the log later; tests/integration/integrations tests redelivery
"""
_INBOX_IS_PRUNED = """
    SELECT count(*) = 0 FROM bus.inbox WHERE event_id IN (SELECT id FROM bus.outbox WHERE payload ->> 'user_id' = :user)
"""
_LOGS = "SELECT topic_id FROM bus.kafka_topics WHERE refill_until IS NULL"


def age_data(chaos_platform: ChaosPlatform, learner: Learner) -> None:
    """Move all bus rows of a learner 60 days into the past, and prune rows older than their retention."""
    for sql in _AGE:
        chaos_platform.platform.database.execute(sql, user=learner.user_id)
    # Let the job run again in this hour.
    chaos_platform.platform.database.execute("DELETE FROM bus.jobs WHERE kind LIKE '%.prune_bus'")
    with databases.using_database(chaos_platform.platform.database):
        for service in SERVICES:
            deliver(f"{service}.prune_bus")


def rows_about(chaos_platform: ChaosPlatform, learner: Learner) -> dict[str, list[str]]:
    """Return all rows that contain the id of a learner, and the learner's notifications, as text."""
    database, about = chaos_platform.platform.database, f"%{learner.user_id}%"
    rows = {
        name: [row for (row,) in database.rows(f"SELECT t::text FROM {name} t WHERE t::text LIKE :about", about=about)]  # noqa: S608 names of tables
        for (name,) in database.rows(_TABLES, schemas=["bus", *SERVICES])
    }
    rows["notifications"] = sorted(
        map(str, take_snapshot(chaos_platform.platform).for_users([learner.user_id]).deliveries)
    )
    return rows


def topic_ids(chaos_platform: ChaosPlatform) -> set[str]:
    """Return the ids of the topics whose logs are complete."""
    return {topic_id for (topic_id,) in chaos_platform.platform.database.rows(_LOGS)}


def test_log_loss_after_pruning_changes_no_old_data(chaos_platform: ChaosPlatform) -> None:
    free, (returned, kept) = (
        chaos_platform.free_courses[0]["id"],
        [course["id"] for course in chaos_platform.paid_courses[:2]],
    )
    learner, newcomer = Learner(chaos_platform).register(), Learner(chaos_platform).register()
    learner.enrol(free)
    learner.complete(free, learner.lessons(free)[0])
    learner.get_refund(learner.buy(returned)["order_id"])
    learner.await_access_end(returned)
    learner.buy(kept)
    chaos_platform.wait_until_idle([learner.user_id])
    age_data(chaos_platform, learner)
    before, logs = rows_about(chaos_platform, learner), topic_ids(chaos_platform)

    chaos_platform.wipe_kafka()
    newcomer.buy(kept)
    eventually(lambda: len(topic_ids(chaos_platform) - logs) == len(SERVICES), "the refill of all topics", seconds=60)
    chaos_platform.wait_until_idle([learner.user_id, newcomer.user_id])
    repeated = learner.visitor.post("/v1/checkouts", {"course_id": kept, "provider": "stripe"}, key=learner.key)

    assert not differences(before, rows_about(chaos_platform, learner))
    assert chaos_platform.platform.database.value(_INBOX_IS_PRUNED, user=learner.user_id)
    assert repeated.status_code == 409
    assert chaos_platform.findings(newcomer.records, users=[newcomer.user_id]) == []
