"""The control plane as a witness: what it cosigned last of each device's log, and what did not fit.

A log is one row, locked while it is judged and moved. Its origin is unique over all tenants: an origin is a key, and
who has the key must not begin anew with another enrolment.
"""

from __future__ import annotations

from typing import Final

from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"

EMPTY_ROOT_HEX: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of nothing

STATEMENTS: Final = (
    f"""
    create table witness_logs (
        tenant text not null references tenants,
        origin_hash bytea not null check (length(origin_hash) = 32),
        device uuid not null,
        origin text not null,
        size bigint not null default 0,
        root bytea not null default decode('{EMPTY_ROOT_HEX}', 'hex') check (length(root) = 32),
        note text not null default '',
        cosigned_at timestamptz,
        primary key (tenant, origin_hash),
        unique (origin_hash)
    ) with (fillfactor = 50)
    """,
    # The evidence: both notes are signed by the device's own key. One of each kind, the first.
    """
    create table witness_alarms (
        tenant text not null references tenants,
        origin_hash bytea not null,
        problem text not null check (problem in ('fork', 'inconsistent')),
        seen_size bigint not null,
        seen_note text not null,
        sent_size bigint not null,
        sent_note text not null,
        times bigint not null default 1,
        seen_at timestamptz not null default now(),
        last_seen_at timestamptz not null default now(),
        primary key (tenant, origin_hash, problem)
    )
    """,
    # A log is found by its key.
    "create index devices_by_key on devices (public_key)",
)
OF_TENANTS: Final = ("witness_logs", "witness_alarms")
WALL: Final = """
create policy of_tenant on {table}
using (current_setting('briefcase.tenant', true) in (tenant, '*'))
"""


def upgrade() -> None:
    """Make them."""
    for statement in STATEMENTS:
        op.execute(statement)
    for table in OF_TENANTS:
        op.execute(f"alter table {table} enable row level security, force row level security")
        op.execute(WALL.format(table=table))
