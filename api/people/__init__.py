"""People, for staff: what a person has bought, joined and received, why they have access, and who learns a course."""

from . import access, learners, records
from .blueprint import blp

__all__ = ["access", "blp", "learners", "records"]  # importing them registers their routes on blp
