"""Serve the fake of YooKassa at PORT_BASE + 30: ``python -m ops.fakes.yookassa``."""

from flask import Flask

import settings
from ops.fakes import serving, webhook_sender
from ops.fakes.calls import Call
from ops.fakes.store import Document, Store
from ops.fakes.yookassa.api import YooKassaApi

from . import controls, notifications, payments, receipts, refunds

NOUNS = (payments, receipts, refunds)


def create_app(store: Store) -> Flask:
    app = serving.make_app("yookassa")
    api = YooKassaApi(app, store)
    for noun in NOUNS:
        noun.routes(api)
    api.route("GET", "/v3/me", _shop)
    controls.add_to(app, store)
    serving.add_controls(app, store, tick=payments.expire_due, forge=notifications.forge)
    return app


def _shop(call: Call) -> Document:
    return {
        "account_id": settings.YOOKASSA_SHOP_ID,
        "status": "enabled",
        "test": True,
        "payment_methods": ["bank_card"],
    }


def main() -> None:
    serving.require_non_production()
    store = serving.open_store("yookassa")
    app = create_app(store)
    webhook_sender.WebhookSender(store, notifications.send).start()
    serving.start_ticking(store, payments.expire_due)
    serving.serve(app, "yookassa")


if __name__ == "__main__":
    main()
