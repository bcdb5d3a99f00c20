"""Courses on sale, as the progress service knows them."""

from alembic import op

revision = "0120"
down_revision = "0100"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE progress.course_sales (
            course_id uuid PRIMARY KEY,
            on_sale boolean NOT NULL,
            version bigint NOT NULL
        )""")


def downgrade() -> None:
    op.execute("DROP TABLE progress.course_sales")
