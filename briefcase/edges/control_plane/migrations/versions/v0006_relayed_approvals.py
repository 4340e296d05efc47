"""What devices' approvals wait for, sealed to signers, and what signers answered: rows that end within the hour."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"

STATEMENTS: Final = (
    "alter table admin_tokens drop constraint admin_tokens_role_check",
    """
    alter table admin_tokens add constraint admin_tokens_role_check
        check (role in ('admin', 'auditor', 'approver'))
    """,
    # `sealed` is an age file that this program cannot open; `head` is JSON, empty where nothing is said in clear.
    """
    create table relayed_approvals (
        tenant text not null references tenants,
        device uuid not null,
        approval uuid not null,
        status text not null check (status in ('pending', 'approved', 'rejected', 'expired', 'consumed', 'withdrawn')),
        head text not null,
        sealed bytea not null check (length(sealed) <= 262144),
        put_at timestamptz not null,
        expires_at timestamptz not null,
        changed_at timestamptz not null,
        primary key (tenant, device, approval)
    ) with (fillfactor = 50)
    """,
    # One of each approver for each approval. `word` is what the device said of it; null until it did.
    """
    create table relayed_answers (
        tenant text not null,
        device uuid not null,
        approval uuid not null,
        sent_by text not null,
        answer uuid not null,
        body text not null check (length(body) <= 8192),
        sent_at timestamptz not null,
        word text,
        message text,
        primary key (tenant, device, approval, sent_by),
        foreign key (tenant, device, approval) references relayed_approvals on delete cascade
    ) with (fillfactor = 50)
    """,
    "create index relayed_answers_open on relayed_answers (device) where word is null",
)
OF_TENANTS: Final = ("relayed_approvals", "relayed_answers")
WALL: Final = """
create policy of_tenant on {table}
using (current_setting('briefcase.tenant', true) in (tenant, '*'))
"""


def upgrade() -> None:
    """Make them, and let a token be an approver's."""
    for statement in STATEMENTS:
        op.execute(statement)
    for table in OF_TENANTS:
        op.execute(f"alter table {table} enable row level security, force row level security")
        op.execute(WALL.format(table=table))
