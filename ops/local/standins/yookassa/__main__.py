"""``python -m ops.local.standins.yookassa`` serves the stand-in at PORT_BASE + 30."""

from flask import Flask

import settings
from ops.local.standins import notices, serving
from ops.local.standins.calls import Call
from ops.local.standins.store import Document, Store
from ops.local.standins.yookassa import controls, notifications, payments, receipts, refunds
from ops.local.standins.yookassa.api import YooKassaApi

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
    serving.refuse_production()
    store = serving.open_store("yookassa")
    app = create_app(store)
    notices.Sender(store, notifications.send).start()
    serving.start_ticking(store, payments.expire_due)
    serving.serve(app, "yookassa")


if __name__ == "__main__":
    main()
