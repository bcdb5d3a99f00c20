"""Courses: the author's working copy (course, outline), published versions, the catalogue of courses on sale, and
enrollments.
"""
