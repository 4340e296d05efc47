"""When a bundle was given to all, and since when a device runs what it says: from the two, how soon a fleet follows."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"

STATEMENTS: Final = (
    "select set_config('briefcase.tenant', '*', true)",
    "alter table bundle_heads add column given_at timestamptz not null default now()",
    "alter table device_status add column running_since timestamptz",
    "update device_status set running_since = seen_at where running_bundle_id is not null",
)


def upgrade() -> None:
    """Add them; devices that were there run what they run since they last said so."""
    for statement in STATEMENTS:
        op.execute(statement)
