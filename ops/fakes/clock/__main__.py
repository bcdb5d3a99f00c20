"""Serve the test clock at PORT_BASE + 40, which TEST_CLOCK_URL refers to: ``python -m ops.fakes.clock``.

``POST /__clock {"advance_seconds": n}`` advances the time of core/clock.py. ``POST /__jobs/{kind}/run`` runs a job at
once, if necessary a second time in its period, and responds when it has finished.
"""

import time

from flask import Flask, Response, jsonify, request

from core.bus.jobs import JobRun
from core.db import session_factory, utc_now
from core.messaging import task_queue
from models.jobs import PERIODS_SECONDS
from ops.fakes import serving
from ops.fakes.store import Document, Documents, Store

JOB_SECONDS = 30


def create_app(store: Store) -> Flask:
    app = serving.make_app("clock")

    def show_clock() -> Document:
        with store.transaction() as db:
            return _shown(db)

    def move_clock() -> Document:
        with store.transaction() as db:
            advance_seconds = float(request.get_json(force=True)["advance_seconds"])
            db.set_value("clock_offset_seconds", db.value("clock_offset_seconds", 0) + advance_seconds)
            return _shown(db)

    def run_job(kind: str) -> tuple[Response, int]:
        if kind not in PERIODS_SECONDS:
            return jsonify({"error": f"no job {kind}"}), 404
        return jsonify({"kind": kind, "finished": _run(kind)}), 200

    app.add_url_rule("/__clock", view_func=show_clock, methods=["GET"])
    app.add_url_rule("/__clock", view_func=move_clock, methods=["POST"])
    app.add_url_rule("/__jobs/<kind>/run", view_func=run_job, methods=["POST"])
    return app


def _shown(db: Documents) -> Document:
    return {"now": db.now(), "advanced_seconds": db.value("clock_offset_seconds", 0)}


def _run(kind: str) -> bool:
    """Insert a slot for one run and wait for its end."""
    service, slot = kind.partition(".")[0], utc_now()
    with session_factory(service).begin() as session:
        session.add(JobRun(kind=kind, slot=slot, attempts=0, run_after=slot))
    deadline = time.monotonic() + JOB_SECONDS
    while time.monotonic() < deadline:
        task_queue.enqueue(
            kind, {}, task_queue.Envelope()
        )  # each message runs the oldest due slot, which may be another one
        time.sleep(0.2)
        with session_factory(service)() as session:
            if session.get_one(JobRun, (kind, slot)).finished_at:
                return True
    return False


def main() -> None:
    serving.require_non_production()
    serving.serve(create_app(serving.open_store("clock")), "clock")


if __name__ == "__main__":
    main()
