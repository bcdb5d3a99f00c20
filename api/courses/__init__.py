"""Courses: catalogue, authoring, enrollment and reviews."""
