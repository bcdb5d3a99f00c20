"""Payments: checkouts, orders, the books, and the providers' webhooks."""

from . import checkouts, ledger, orders, refunds, webhooks
from .blueprint import blp

__all__ = ["blp", "checkouts", "ledger", "orders", "refunds", "webhooks"]  # importing them puts their routes on blp
