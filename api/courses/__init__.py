"""Courses: what is on sale, writing it, and learning it."""

from . import catalogue, course, enrollments, outline, reviews, versions
from .blueprint import blp

__all__ = [
    "blp",
    "catalogue",
    "course",
    "enrollments",
    "outline",
    "reviews",
    "versions",
]  # importing them puts their routes on blp
