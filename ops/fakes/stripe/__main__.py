"""Serve the fake of Stripe at PORT_BASE + 20: ``python -m ops.fakes.stripe``."""

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import NotFound

from ops.fakes import serving, webhook_sender
from ops.fakes.store import Store
from ops.fakes.stripe.api import StripeApi

from . import (
    catalogue,
    charges,
    checkout_sessions,
    controls,
    customers,
    disputes,
    errors,
    events,
    payment_intents,
    payment_methods,
    refunds,
    setup_intents,
)

NOUNS = (
    catalogue,
    charges,
    customers,
    disputes,
    events,
    payment_intents,
    payment_methods,
    refunds,
    checkout_sessions,
    setup_intents,
)


def create_app(store: Store) -> Flask:
    app = serving.make_app("stripe")
    api = StripeApi(app, store)
    for noun in NOUNS:
        noun.routes(api)
    controls.add_to(app, store)
    serving.add_controls(app, store, tick=checkout_sessions.expire_due, forge=events.forge)
    app.register_error_handler(NotFound, _unknown_path)
    return app


def _unknown_path(_: NotFound) -> tuple[Response, int]:
    refusal = errors.unknown_path(request.method, request.path)
    return jsonify(refusal.body), refusal.status


def main() -> None:
    serving.require_non_production()
    store = serving.open_store("stripe")
    app = create_app(store)
    webhook_sender.WebhookSender(store, events.send).start()
    serving.start_ticking(store, checkout_sessions.expire_due)
    serving.serve(app, "stripe")


if __name__ == "__main__":
    main()
