"""The keys that sign, by their public halves: which of them is prepared, present, retired, and who holds which.

They are of the control plane and of no tenant. A private half is in no table.
"""

from __future__ import annotations

from typing import Final

from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"

STATEMENTS: Final = (
    # One row: who changes the keys locks it, and each change makes the next version.
    """
    create table signing_head (
        id smallint primary key check (id = 1),
        version bigint not null
    )
    """,
    # `word` is the envelope by which the key before named this one; empty for the first.
    """
    create table signing_keys (
        number bigint primary key,
        public_b64 text not null unique check (public_b64 ~ '^[A-Za-z0-9_-]{43}$'),
        state text not null check (state in ('prepared', 'present', 'retired', 'discarded')),
        word text not null default '',
        changed_at timestamptz not null default now()
    )
    """,
    "create unique index signing_keys_present on signing_keys (state) where state = 'present'",
    "create unique index signing_keys_prepared on signing_keys (state) where state = 'prepared'",
    # What each process says that it can sign with, the public keys one after the other.
    """
    create table signing_processes (
        process uuid primary key,
        address text not null,
        held text not null,
        seen_at timestamptz not null
    )
    """,
    # What a device gets, with the version of the keys that it is signed in.
    """
    create or replace view device_bundles as
    select devices.tenant, devices.device, devices.token_hash, devices.jkt, devices.revoked_at,
           bundle_heads.last_id, bundle_heads.bundle_id, bundle_heads.mandatory_id,
           rollouts.rollout_id, rollouts.canary_permille, signing_head.version as key_version
    from devices
    join bundle_heads on bundle_heads.tenant = devices.tenant
    cross join signing_head
    left join rollouts on rollouts.tenant = devices.tenant and rollouts.state = 'canary'
    """,
)


def upgrade() -> None:
    """Make them."""
    for statement in STATEMENTS:
        op.execute(statement)
