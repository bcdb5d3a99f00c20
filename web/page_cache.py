"""Pages that are the same for all visitors are kept for some seconds, by address and language.

A visitor is a browser without a session. A change of a price is shown LIFETIME_SECONDS later at most; the checkout
always shows the current one.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import ParamSpec

from flask import request, session
from flask.typing import ResponseReturnValue

from .language import current_language

P = ParamSpec("P")

LIFETIME_SECONDS = 5.0
MAX_PAGES = 500  # of one process: about 10 MB

_pages: OrderedDict[tuple[str, str], tuple[float, str]] = OrderedDict()  # the oldest first
_lock = Lock()


def same_for_all_visitors(view: Callable[P, ResponseReturnValue]) -> Callable[P, ResponseReturnValue]:
    """Keep the page that ``view`` returns for a visitor, but no redirect."""

    @wraps(view)
    def cached(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        if session or request.method != "GET":
            return view(*args, **kwargs)
        key = (current_language(), request.full_path)
        now = time.monotonic()
        kept = _pages.get(key)
        if kept is not None and kept[0] > now:
            return kept[1]
        page = view(*args, **kwargs)
        if not session and isinstance(page, str):  # the view may have begun one, for a message
            with _lock:
                _pages[key] = (now + LIFETIME_SECONDS, page)
                _pages.move_to_end(key)
                while len(_pages) > MAX_PAGES:
                    _pages.popitem(last=False)
        return page

    return cached


def clear() -> None:
    """Forget all pages."""
    with _lock:
        _pages.clear()
