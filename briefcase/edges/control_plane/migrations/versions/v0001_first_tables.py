"""The first tables: tenant and device lead every key, no sequence, and no foreign key to a row that is written often.

`text` holds what came on the wire, byte for byte: a `jsonb` would sort its members, and its hash would be another.
"""

from __future__ import annotations

from typing import Final

from alembic import op

revision: str = "0001"
down_revision: str | None = None

JTI_SLOTS: Final = 8

STATEMENTS: Final = (
    # Who may administer. The token of the environment is of the tenant `default` and stands in no row.
    """
    create table tenants (
        tenant text primary key check (tenant ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
        created_at timestamptz not null default now()
    )
    """,
    """
    create table admin_tokens (
        tenant text not null references tenants,
        name text not null,
        role text not null check (role in ('admin', 'auditor')),
        token_hash bytea not null unique check (length(token_hash) = 32),
        created_at timestamptz not null default now(),
        revoked_at timestamptz,
        primary key (tenant, name)
    )
    """,
    # Bundles are immutable: the exact bytes that were signed. The head row gives the next id, so that a publication
    # that is refused uses none; `bundle_id` is what every device gets that is in no rollout's canary.
    """
    create table bundles (
        tenant text not null references tenants,
        bundle_id bigint not null,
        bundle bytea not null,
        signature bytea not null check (length(signature) = 64),
        published_by text not null,
        published_at timestamptz not null default now(),
        primary key (tenant, bundle_id)
    )
    """,
    """
    create table bundle_heads (
        tenant text primary key references tenants,
        bundle_id bigint not null,
        last_id bigint not null,
        mandatory_id bigint not null default 0
    )
    """,
    # What every device of a tenant forbids beside its policy; an empty text forbids nothing more.
    """
    create table mandatory_parts (
        tenant text not null references tenants,
        id bigint not null,
        policy_text text not null,
        published_by text not null,
        published_at timestamptz not null default now(),
        primary key (tenant, id)
    )
    """,
    """
    create table rollouts (
        tenant text not null references tenants,
        rollout_id bigint not null,
        before_id bigint not null,
        state text not null check (state in ('canary', 'active', 'done', 'rolled_back')),
        canary_permille integer not null check (canary_permille between 1 and 999),
        gates text not null,
        begun_at timestamptz not null default now(),
        changed_at timestamptz not null default now(),
        primary key (tenant, rollout_id)
    )
    """,
    "create unique index rollouts_under_way on rollouts (tenant) where state in ('canary', 'active')",
    # A device's id is unique over all tenants: a device knows its id and not its tenant.
    """
    create table devices (
        tenant text not null references tenants,
        device uuid not null,
        name text not null,
        public_key bytea not null check (length(public_key) = 32),
        jkt text not null,
        token_hash bytea not null check (length(token_hash) = 32),
        enrolled_at timestamptz not null default now(),
        revoked_at timestamptz,
        primary key (tenant, device),
        unique (device)
    )
    """,
    # Which bundle a device gets: its tenant's, or that of a rollout if it is one of those that get it first.
    """
    create view device_bundles as
    select devices.tenant, devices.device, devices.token_hash, devices.jkt, devices.revoked_at,
           bundle_heads.last_id, bundle_heads.bundle_id, bundle_heads.mandatory_id,
           rollouts.rollout_id, rollouts.canary_permille
    from devices
    join bundle_heads on bundle_heads.tenant = devices.tenant
    left join rollouts on rollouts.tenant = devices.tenant and rollouts.state = 'canary'
    """,
    # Written by each upload, apart from `devices`, so that an enrolment never waits for one.
    """
    create table device_heads (
        tenant text not null,
        device uuid not null,
        last_id bigint not null default 0,
        head_hash bytea not null default decode(repeat('00', 32), 'hex'),
        size bigint not null default 0,
        primary key (tenant, device)
    ) with (fillfactor = 50)
    """,
    # Written by each status; no index on `seen_at`, which would end updates in place.
    """
    create table device_status (
        tenant text not null,
        device uuid not null,
        running_bundle_id bigint,
        tried_bundle_id bigint,
        last_error text,
        version text,
        seen_at timestamptz not null,
        primary key (tenant, device)
    ) with (fillfactor = 50)
    """,
    # Proofs that were used, in a ring of partitions by time: the oldest is emptied whole.
    """
    create table dpop_jtis (
        tenant text not null,
        device uuid not null,
        jti bytea not null check (length(jti) = 16),
        slot smallint not null,
        primary key (tenant, device, jti, slot)
    ) partition by list (slot)
    """,
    *(f"create table dpop_jtis_{slot} partition of dpop_jtis for values in ({slot})" for slot in range(JTI_SLOTS)),
    # Partitions by the day of arrival are made ahead and dropped by retention, by whichever process has the lease.
    """
    create table receipts (
        tenant text not null,
        device uuid not null,
        id bigint not null,
        ts text not null,
        prev_hash bytea not null check (length(prev_hash) = 32),
        hash bytea not null check (length(hash) = 32),
        event text not null,
        received_at timestamptz not null default now(),
        primary key (tenant, device, id, received_at)
    ) partition by range (received_at)
    """,
    # The evidence of a chain that was told in two ways.
    """
    create table forks (
        tenant text not null,
        device uuid not null,
        id bigint not null,
        stored_hash bytea not null,
        sent_hash bytea not null,
        event text not null,
        seen_at timestamptz not null default now(),
        primary key (tenant, device, id, sent_hash)
    )
    """,
    # Each administrative act, in a chain of its own.
    """
    create table audit_events (
        tenant text not null references tenants,
        id bigint not null,
        prev_hash bytea not null,
        hash bytea not null,
        event text not null,
        primary key (tenant, id)
    )
    """,
    "create table leases (name text primary key, holder uuid not null, until timestamptz not null)",
)


OF_TENANTS: Final = (
    *("tenants", "admin_tokens", "bundles", "bundle_heads", "rollouts", "mandatory_parts", "devices", "device_heads"),
    *("device_status", "dpop_jtis", "receipts", "forks", "audit_events"),
)
"""Tables with rows of tenants. A second wall behind the conditions of each query: a transaction sees the rows of the
tenant in `briefcase.tenant`, all where that is `*`, and none where nobody set it. The owner is under it, too."""

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
