"""Webhooks: kept with the change that they tell of, sent by a thread of their own, resent until they are accepted."""

import http.client
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from ops.fakes.store import Document, Documents, Store

from . import faults

log = logging.getLogger(__name__)

SENDERS = 4  # one slow receiver must not hold up all notices
POLL_SECONDS = 0.1
TIMEOUT_SECONDS = 10
LEASE_SECONDS = 2 * TIMEOUT_SECONDS + 5  # a notice in somebody's hands; two sendings when it is duplicated
# Providers wait longer each time, hours in the end, so that a receiver that is down is not flooded when it comes back.
# The first pauses are short, for tests and for restarts; an outage delays a notice by at most its own length again.
INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.2, 12 * 3600
RETENTION_SECONDS = 3 * 24 * 3600
REORDER_SECONDS = 1.0  # how long notices gather before they go out newest first
RESEND_SECONDS = 2.0

Headers = dict[str, str]


def add(db: Documents, event: str, body: str, event_id: str | None = None) -> None:
    """Keep a notice of ``event`` in the transaction of the change itself."""
    # Notices live in the machine's time: a moved clock must not make them late or stale.
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
    db.webhook_added.set()  # the sender waits for its turn, and so for our commit


def resend_dropped(db: Documents) -> None:
    db.execute("UPDATE webhooks SET state = 'pending', due_at = ? WHERE state = 'dropped'", time.time())


def undelivered(db: Documents) -> set[str]:
    """The ids of the events that nobody has accepted yet."""
    rows = db.execute("SELECT event_id FROM webhooks WHERE state <> 'delivered' AND event_id IS NOT NULL")
    return {row["event_id"] for row in rows}


def journal(db: Documents) -> list[Document]:
    columns = "id, event_id, event, state, attempts, last_status, created_at"
    return [dict(row) for row in db.execute(f"SELECT {columns} FROM webhooks ORDER BY id")]


def post(url: str, body: bytes, headers: Headers, *, source_address: str | None = None) -> int:
    """POST ``body`` and return the status, 0 when nobody answered. ``source_address`` is bound on loopback only."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    # 127.0.0.2 cannot reach another machine, as between containers.
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
    """Return the seconds until a notice is sent again that was refused after so many earlier attempts."""
    return min(INITIAL_BACKOFF_SECONDS * 2 ** min(attempts, 30), MAX_BACKOFF_SECONDS)


@dataclass(frozen=True)
class PendingWebhook:
    id: int
    body: bytes
    attempts: int
    created_at: float
    copies: int


class WebhookSender:
    """Sends what is due from a thread of its own.

    ``send`` posts one body; it says whether that was accepted, and the status.
    """

    def __init__(self, store: Store, send: Callable[[bytes], tuple[bool, int]]) -> None:
        self._store = store
        self._send = send
        self._pool = ThreadPoolExecutor(SENDERS, thread_name_prefix="webhook")

    def start(self) -> None:
        with self._store.transaction() as db:
            # What a killed process had in its hands is free again.
            db.execute("UPDATE webhooks SET due_at = ? WHERE state = 'pending'", time.time())
        threading.Thread(target=self._run, name="webhooks", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._store.transaction() as db:
                in_order, webhooks = self._claim_due(db, time.time())
            if in_order:
                self._pool.submit(self._deliver_all, webhooks)
            else:
                for notice in webhooks:
                    self._pool.submit(self._deliver, notice)
            # A provider sends at once; what is due later, or again, is found by looking.
            self._store.webhook_added.wait(POLL_SECONDS)
            self._store.webhook_added.clear()

    def _claim_due(self, db: Documents, now: float) -> tuple[bool, list[PendingWebhook]]:
        """The notices to send now, and whether they must go one after another."""
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
            log.warning("notice %s was never accepted", webhook.id)
        with self._store.transaction() as db:
            db.execute(
                "UPDATE webhooks SET state = ?, attempts = attempts + 1, last_status = ?, due_at = ? WHERE id = ?",
                state,
                status,
                now + retry_delay_seconds(webhook.attempts),
                webhook.id,
            )
