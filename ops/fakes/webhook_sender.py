"""Send webhooks: stored in the transaction of the change, sent by a thread, resent until they are accepted."""

import http.client
import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from ops.fakes.store import Document, Documents, Store

from . import faults

log = logging.getLogger(__name__)

SENDERS = 4  # so that one slow receiver does not delay all webhooks
MAX_WAIT_SECONDS = 1.0  # a fault that is switched on or off may make webhooks due
TIMEOUT_SECONDS = 10
LEASE_SECONDS = 2 * TIMEOUT_SECONDS + 5  # while a thread sends a webhook, twice if it is duplicated
# Providers increase the pause up to hours, so that a recovering receiver is not flooded. The first pauses are short for
# tests and restarts; after an outage a webhook is delayed by at most the length of the outage.
INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.2, 12 * 3600
RETENTION_SECONDS = 3 * 24 * 3600
REORDER_SECONDS = 1.0  # how long webhooks are collected before they are sent newest first
RESEND_SECONDS = 2.0

Headers = dict[str, str]


def add(db: Documents, event: str, body: str, event_id: str | None = None) -> None:
    """Store a webhook about ``event`` in the transaction of the change."""
    # Webhooks use the system time: moving the clock of the fake must not delay or expire them.
    now = time.time()
    due_at = now + REORDER_SECONDS if faults.is_enabled(db, "reorder_webhooks") else now
    db.execute(
        "INSERT INTO webhooks (event_id, event, body, due_at, created_at) VALUES (?, ?, ?, ?, ?)",
        event_id,
        event,
        body,
        due_at,
        now,
    )
    db.webhook_added.set()  # the sender waits for the lock of the store and so for this commit


def _seconds_until_due(db: Documents) -> float:
    """Return how long to wait for the next attempt, MAX_WAIT_SECONDS at most; a new webhook ends the wait."""
    next_due_at = db.execute("SELECT min(due_at) AS at FROM webhooks WHERE state = 'pending'").fetchone()["at"]
    return min(max((next_due_at or math.inf) - time.time(), 0.01), MAX_WAIT_SECONDS)


def resend_dropped(db: Documents) -> None:
    db.execute("UPDATE webhooks SET state = 'pending', due_at = ? WHERE state = 'dropped'", time.time())


def undelivered(db: Documents) -> set[str]:
    """Return the ids of the events that no receiver has accepted yet."""
    rows = db.execute("SELECT event_id FROM webhooks WHERE state <> 'delivered' AND event_id IS NOT NULL")
    return {row["event_id"] for row in rows}


def journal(db: Documents) -> list[Document]:
    columns = "id, event_id, event, state, attempts, last_status, created_at"
    return [dict(row) for row in db.execute(f"SELECT {columns} FROM webhooks ORDER BY id")]


def post(url: str, body: bytes, headers: Headers, *, source_address: str | None = None) -> int:
    """POST ``body`` and return the status, 0 without a response. ``source_address`` is bound on loopback only."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    # 127.0.0.2 cannot reach other machines or containers.
    loopback = host == "localhost" or host.startswith("127.")
    make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    source = (source_address, 0) if source_address and loopback else None
    connection = make(host, parts.port, timeout=TIMEOUT_SECONDS, source_address=source)
    try:
        connection.request("POST", parts.path, body=body, headers=headers)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        return 0
    else:
        return response.status
    finally:
        connection.close()


def retry_delay_seconds(attempts: int) -> float:
    """Return the delay before the next attempt to send a webhook after ``attempts`` earlier ones."""
    return min(INITIAL_BACKOFF_SECONDS * 2 ** min(attempts, 30), MAX_BACKOFF_SECONDS)


@dataclass(frozen=True)
class PendingWebhook:
    id: int
    body: bytes
    attempts: int
    created_at: float
    copies: int


class WebhookSender:
    """Sends due webhooks from its own threads.

    ``send`` posts one body and returns whether it was accepted, and the status.
    """

    def __init__(self, store: Store, send: Callable[[bytes], tuple[bool, int]]) -> None:
        self._store = store
        self._send = send
        self._pool = ThreadPoolExecutor(SENDERS, thread_name_prefix="webhook")

    def start(self) -> None:
        with self._store.transaction() as db:
            # Release the webhooks that a killed process had claimed.
            db.execute("UPDATE webhooks SET due_at = ? WHERE state = 'pending'", time.time())
        threading.Thread(target=self._run, name="webhooks", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._store.transaction() as db:
                in_order, webhooks = self._claim_due(db, time.time())
                wait_seconds = _seconds_until_due(db)
            if in_order:
                self._pool.submit(self._deliver_all, webhooks)
            else:
                for notice in webhooks:
                    self._pool.submit(self._deliver, notice)
            self._store.webhook_added.wait(wait_seconds)
            self._store.webhook_added.clear()

    def _claim_due(self, db: Documents, now: float) -> tuple[bool, list[PendingWebhook]]:
        """Claim the due webhooks. Return whether they must be sent in order, and the webhooks."""
        due = "state = 'pending' AND due_at <= ?"
        if not db.execute(f"SELECT 1 FROM webhooks WHERE {due} LIMIT 1", now).fetchone():
            return False, []
        reorder = faults.is_enabled(db, "reorder_webhooks")
        if reorder:
            due = "state = 'pending' AND (due_at <= ? OR attempts = 0)"
        order = "DESC" if reorder else "ASC"
        rows = db.execute(f"SELECT * FROM webhooks WHERE {due} ORDER BY id {order} LIMIT 100", now).fetchall()
        claimed = []
        for row in rows:
            first = row["attempts"] == 0
            if first and faults.should_trigger(db, "drop_webhooks"):
                self._drop(db, row["id"], now)
                continue
            copies = 2 if first and faults.should_trigger(db, "duplicate_webhooks") else 1
            db.execute("UPDATE webhooks SET due_at = ? WHERE id = ?", now + LEASE_SECONDS, row["id"])
            claimed.append(PendingWebhook(row["id"], row["body"].encode(), row["attempts"], row["created_at"], copies))
        return reorder, claimed

    def _drop(self, db: Documents, webhook_id: int, now: float) -> None:
        state = "pending" if faults.is_enabled(db, "resend") else "dropped"
        db.execute(
            "UPDATE webhooks SET state = ?, attempts = 1, due_at = ? WHERE id = ?",
            state,
            now + RESEND_SECONDS,
            webhook_id,
        )

    def _deliver_all(self, webhooks: list[PendingWebhook]) -> None:
        for notice in webhooks:
            self._deliver(notice)

    def _deliver(self, webhook: PendingWebhook) -> None:
        accepted, status = self._send(webhook.body)
        for _ in range(webhook.copies - 1):
            self._send(webhook.body)
        now = time.time()
        state = "delivered" if accepted else "pending"
        if not accepted and now - webhook.created_at > RETENTION_SECONDS:
            state = "abandoned"
            log.warning("webhook %s was never accepted", webhook.id)
        with self._store.transaction() as db:
            db.execute(
                "UPDATE webhooks SET state = ?, attempts = attempts + 1, last_status = ?, due_at = ? WHERE id = ?",
                state,
                status,
                now + retry_delay_seconds(webhook.attempts),
                webhook.id,
            )
