"""Payments: checkouts, orders, the books, and the providers' webhooks."""

from . import checkouts, ledger, orders, webhooks
from .blueprint import blp

__all__ = ["blp", "checkouts", "ledger", "orders", "webhooks"]  # importing them puts their routes on blp
