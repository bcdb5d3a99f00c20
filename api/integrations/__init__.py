"""Integrations: the feed of all events, webhooks, and the events that a handler could not take."""

from . import deadletters, feed, quarantine, webhooks
from .blueprint import blp

__all__ = ["blp", "deadletters", "feed", "quarantine", "webhooks"]  # importing them puts their routes on blp
