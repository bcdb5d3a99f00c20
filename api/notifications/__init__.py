"""Notifications: what was told to you, and what you want to be told how."""

from . import feed, preferences
from .blueprint import blp

__all__ = ["blp", "feed", "preferences"]  # importing them puts their routes on blp
