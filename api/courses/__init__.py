"""Courses: what is on sale, writing it, and learning it."""

from . import catalogue, course, enrollments, outline
from .blueprint import blp

__all__ = ["blp", "catalogue", "course", "enrollments", "outline"]  # importing them puts their routes on blp
