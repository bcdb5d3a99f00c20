"""How Flower runs: it reads this file as its configuration. FLOWER_BASIC_AUTH stands in the environment."""

import os
from typing import Any, NoReturn

from flower.urls import handlers
from tornado.web import HTTPError

from core import log

log.configure("flower")  # in place of Tornado's own lines
persistent = False  # what the workers did before is in the logs

# An open Flower shows who does what; "ops:" is open too.
_passwords = [each.partition(":")[2] for each in os.environ.get("FLOWER_BASIC_AUTH", "").split(",")]
if not all(_passwords):
    raise SystemExit("FLOWER_BASIC_AUTH must be user:password, and the password must not be empty")


def _reject(*_: Any, **__: Any) -> NoReturn:
    raise HTTPError(405, "Flower only shows: commands are given through the API")


# Its API starts any task with any arguments, past every permission of the gateway, and stops workers.
for _route in handlers:
    _handler = _route.handler_class if hasattr(_route, "handler_class") else _route[1]
    if _handler.__module__.startswith("flower.api.") and hasattr(_handler, "post"):
        _handler.post = _reject
