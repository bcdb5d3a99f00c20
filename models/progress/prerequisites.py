"""The first course that a learner must complete before another one."""

from sqlalchemy import Uuid, text

# The id of the first required course that the learner ``user`` of ``course`` has not completed. A course is required if
# the learner's version and the newest one require it and it is on sale. An author can therefore remove a prerequisite,
# and one that is no longer on sale locks no learner out.
MISSING_PREREQUISITE = text("""
    SELECT required.course_id
    FROM progress.course_progress AS mine
    JOIN progress.outlines AS pinned USING (course_id, course_version)
    CROSS JOIN unnest(pinned.prerequisites) WITH ORDINALITY AS required (course_id, place)
    WHERE mine.user_id = :user AND mine.course_id = :course
        AND required.course_id = ANY ((
            SELECT newest.prerequisites FROM progress.outlines AS newest
            WHERE newest.course_id = :course ORDER BY newest.course_version DESC LIMIT 1
        )::uuid[])
        AND NOT EXISTS (
            SELECT FROM progress.course_sales AS sale WHERE sale.course_id = required.course_id AND NOT sale.on_sale
        )
        AND NOT EXISTS (
            SELECT FROM progress.course_progress AS done
            WHERE done.user_id = :user AND done.course_id = required.course_id AND done.completed_at IS NOT NULL
        )
    ORDER BY required.place LIMIT 1
""").columns(course_id=Uuid)
