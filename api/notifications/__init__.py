"""Notification routes: inbox, preferences, devices, unsubscribe links, e-mail webhook and administration."""
