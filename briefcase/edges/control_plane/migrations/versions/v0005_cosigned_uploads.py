"""What a device's uploads are held against: the checkpoint that was cosigned ahead of them, and the tree over them."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"

STATEMENTS: Final = (
    """
    alter table device_heads
        add column cosigned_size bigint,
        add column cosigned_root bytea check (length(cosigned_root) = 32),
        add column tree_size bigint not null default 0,
        add column tree_roots bytea not null default ''
    """,
    "alter table witness_alarms drop constraint witness_alarms_problem_check",
    """
    alter table witness_alarms add constraint witness_alarms_problem_check
        check (problem in ('fork', 'inconsistent', 'receipts'))
    """,
)


def upgrade() -> None:
    """Add them; a log that was cosigned already is compared from its next checkpoint on."""
    for statement in STATEMENTS:
        op.execute(statement)
