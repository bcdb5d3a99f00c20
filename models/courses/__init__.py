"""Courses: what authors write (course, outline), what was published of it (versions), what is on sale (catalogue),
and who may learn it (enrollments).
"""
