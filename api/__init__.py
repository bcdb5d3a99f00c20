"""The gateway: HTTP only. It authenticates, validates, enqueues and translates; it knows no table and no rule.

Every module of this package that has a ``blp`` is served; nothing is registered by hand.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

import settings
from models import log

from . import arguments, cors, docs, headers, limits, metrics, openapi, problems


class Gateway(Flask):
    """Flask without a search for async functions among its views and hooks: there are none."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func  # else ten looks at each request: 25 µs


def create_app() -> Flask:
    """The WSGI application. Raises SystemExit where production would speak to a stand-in."""
    settings.refuse_unsafe_production()
    log.configure("gateway")
    app = Gateway(__name__, static_folder=None)
    app.config.update(
        API_TITLE="Coursebus",
        API_VERSION="v1",
        OPENAPI_VERSION="3.1.0",
        PROPAGATE_EXCEPTIONS=False,  # a crash is a problem+json in tests too
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # answers read in the order of their schemas
    app.url_map.merge_slashes = False  # a path is right or a 404, never a redirect
    if settings.TRUSTED_PROXIES:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.TRUSTED_PROXIES)  # type: ignore[method-assign]  # as its documentation says
    metrics.add_to(app)
    headers.follow(app)
    for part in (arguments, cors, limits):
        part.add_to(app)
    problems.handle(app)
    rest = openapi.rest(app)
    for module in pkgutil.iter_modules(__path__):
        blueprint = getattr(importlib.import_module(f"{__name__}.{module.name}"), "blp", None)
        if blueprint:
            rest.register_blueprint(blueprint, url_prefix=blueprint.url_prefix)
    docs.add_to(app, rest)
    return app
