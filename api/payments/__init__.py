"""Payments: checkouts, orders, refunds, subscriptions, the ledger and provider webhooks."""
