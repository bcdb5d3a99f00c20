"""Serve the fake of Auth0 at PORT_BASE + 10: ``python -m ops.fakes.auth0``."""

from flask import Flask

from ops.fakes import serving, webhook_sender
from ops.fakes.store import Store

from . import authorization, device, keys, management, tokens, users, webhooks


def create_app(store: Store) -> Flask:
    with store.transaction() as db:
        keys.ensure(db)
        users.ensure(db)
    app = serving.make_app("auth0")
    tokens.add_to(app, store)
    authorization.add_to(app, store)
    device.add_to(app, store)
    management.add_to(app, store)
    serving.add_controls(app, store)
    return app


def main() -> None:
    serving.require_non_production()
    store = serving.open_store("auth0")
    app = create_app(store)
    webhook_sender.WebhookSender(store, webhooks.send).start()
    serving.serve(app, "auth0")


if __name__ == "__main__":
    main()
