"""The console for staff: courses, sales, people, orders, coupons, webhooks, operations, ledger and audit.

A page is shown to accounts with one of its permissions; the API checks them again and records every change and every
read of personal data. A change asks once, on a page of its own.
"""

from . import courses, home, money, operations, orders, people, request_traces  # noqa: F401 they add their pages to the blueprint
from .blueprint import blueprint

__all__ = ["blueprint"]
