"""Configure Flower, which loads this file."""

from typing import Any, NoReturn

from flower.urls import handlers
from flower.views.monitor import Metrics
from tornado.web import HTTPError, authenticated

import settings
from core import log
from settings.checks import validate_production_settings

validate_production_settings("flower")
log.configure("flower")  # replaces Tornado's log format
persistent = False  # past tasks are in the logs

# Flower shows the arguments of tasks, so it must not start without a password; "ops:" has an empty one.
basic_auth = settings.FLOWER_BASIC_AUTH.split(",")
if not all(each.partition(":")[2] for each in basic_auth):
    raise SystemExit("FLOWER_BASIC_AUTH must be user:password, and the password must not be empty")


def _reject(*_: Any, **__: Any) -> NoReturn:
    raise HTTPError(405, "Flower is read-only: use the API to send commands")


# Flower's API starts any task with any arguments, without the permissions that the gateway checks, and stops workers.
for _route in handlers:
    _handler = _route.handler_class if hasattr(_route, "handler_class") else _route[1]
    if _handler.__module__.startswith("flower.api.") and hasattr(_handler, "post"):
        _handler.post = _reject

# Flower itself asks for no login here. The metrics name workers and tasks.
Metrics.get = authenticated(Metrics.get)
