"""The application shell that the gateway and the stream share: one set of headers, limits, arguments and errors."""

from collections.abc import Callable
from typing import Any

from flask import Flask

from . import arguments, cors, headers, limits, problems


class Gateway(Flask):
    """Flask without a search for async functions among its views and hooks: there are none."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func  # else ten looks at each request: 25 µs


def app_shell(name: str, *, first: Callable[[Flask], object] | None = None) -> Gateway:
    """Return an application with everything that each request of ours gets.

    ``first`` installs hooks that run before all others, and whose after_request hooks run last.
    """
    app = Gateway(name, static_folder=None)
    app.config["PROPAGATE_EXCEPTIONS"] = False  # a crash is a problem+json in tests too
    app.json.sort_keys = False  # type: ignore[attr-defined]  # answers read in the order of their schemas
    app.url_map.merge_slashes = False  # a path is right or a 404, never a redirect
    if first:
        first(app)
    headers.follow(app)
    for part in (arguments, cors, limits):
        part.add_to(app)
    problems.handle(app)
    return app
