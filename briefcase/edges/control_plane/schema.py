"""The tables as SQLAlchemy has them, for what an administrator and an auditor ask.

The versions in `migrations` make them; a test holds the two against each other. What a device asks is in statements of
its own (`device_calls.py`, `uploads.py`), each one round trip.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
)

TENANT_PATTERN: Final = r"[a-z0-9][a-z0-9-]{0,62}"
DEFAULT_TENANT: Final = "default"

metadata: Final = MetaData()

_NOW: Final = func.now()


def _time(name: str, *, is_optional: bool = False, is_now: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=is_optional, server_default=_NOW if is_now else None)


tenants: Final = Table(
    "tenants",
    metadata,
    Column("tenant", Text, primary_key=True),
    _time("created_at", is_now=True),
)

admin_tokens: Final = Table(
    "admin_tokens",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("token_hash", LargeBinary, nullable=False),
    _time("created_at", is_now=True),
    _time("revoked_at", is_optional=True),
)

bundles: Final = Table(
    "bundles",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("bundle_id", BigInteger, primary_key=True),
    Column("bundle", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("published_by", Text, nullable=False),
    _time("published_at", is_now=True),
)

bundle_heads: Final = Table(
    "bundle_heads",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("bundle_id", BigInteger, nullable=False),
    Column("last_id", BigInteger, nullable=False),
    Column("mandatory_id", BigInteger, nullable=False),
    _time("given_at", is_now=True),
)

mandatory_parts: Final = Table(
    "mandatory_parts",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("id", BigInteger, primary_key=True),
    Column("policy_text", Text, nullable=False),
    Column("published_by", Text, nullable=False),
    _time("published_at", is_now=True),
)

signing_head: Final = Table(
    "signing_head",
    metadata,
    Column("id", SmallInteger, primary_key=True),
    Column("version", BigInteger, nullable=False),
)

signing_keys: Final = Table(
    "signing_keys",
    metadata,
    Column("number", BigInteger, primary_key=True),
    Column("public_b64", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("word", Text, nullable=False),
    _time("changed_at", is_now=True),
)

signing_processes: Final = Table(
    "signing_processes",
    metadata,
    Column("process", Uuid, primary_key=True),
    Column("address", Text, nullable=False),
    Column("held", Text, nullable=False),
    _time("seen_at"),
)

rollouts: Final = Table(
    "rollouts",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("rollout_id", BigInteger, primary_key=True),
    Column("before_id", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("canary_permille", Integer, nullable=False),
    Column("gates", Text, nullable=False),
    _time("begun_at", is_now=True),
    _time("changed_at", is_now=True),
)

devices: Final = Table(
    "devices",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("device", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("jkt", Text, nullable=False),
    Column("token_hash", LargeBinary, nullable=False),
    _time("enrolled_at", is_now=True),
    _time("revoked_at", is_optional=True),
)

device_heads: Final = Table(
    "device_heads",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("device", Uuid, primary_key=True),
    Column("last_id", BigInteger, nullable=False),
    Column("head_hash", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("cosigned_size", BigInteger),
    Column("cosigned_root", LargeBinary),
    Column("tree_size", BigInteger, nullable=False),
    Column("tree_roots", LargeBinary, nullable=False),
)

device_status: Final = Table(
    "device_status",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("device", Uuid, primary_key=True),
    Column("running_bundle_id", BigInteger),
    Column("tried_bundle_id", BigInteger),
    Column("last_error", Text),
    Column("version", Text),
    _time("seen_at"),
    _time("running_since", is_optional=True),
)

receipts: Final = Table(
    "receipts",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("device", Uuid, primary_key=True),
    Column("id", BigInteger, primary_key=True),
    Column("ts", Text, nullable=False),
    Column("prev_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("event", Text, nullable=False),
    Column("received_at", DateTime(timezone=True), primary_key=True, server_default=_NOW),
)

forks: Final = Table(
    "forks",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("device", Uuid, primary_key=True),
    Column("id", BigInteger, primary_key=True),
    Column("stored_hash", LargeBinary, nullable=False),
    Column("sent_hash", LargeBinary, primary_key=True),
    Column("event", Text, nullable=False),
    _time("seen_at", is_now=True),
)

audit_events: Final = Table(
    "audit_events",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("id", BigInteger, primary_key=True),
    Column("prev_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("event", Text, nullable=False),
)

dpop_jtis: Final = Table(
    "dpop_jtis",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("device", Uuid, primary_key=True),
    Column("jti", LargeBinary, primary_key=True),
    Column("slot", SmallInteger, primary_key=True),
)

witness_logs: Final = Table(
    "witness_logs",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("origin_hash", LargeBinary, primary_key=True),
    Column("device", Uuid, nullable=False),
    Column("origin", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    _time("cosigned_at", is_optional=True),
)

witness_alarms: Final = Table(
    "witness_alarms",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("origin_hash", LargeBinary, primary_key=True),
    Column("problem", Text, primary_key=True),
    Column("seen_size", BigInteger, nullable=False),
    Column("seen_note", Text, nullable=False),
    Column("sent_size", BigInteger, nullable=False),
    Column("sent_note", Text, nullable=False),
    Column("times", BigInteger, nullable=False),
    _time("seen_at", is_now=True),
    _time("last_seen_at", is_now=True),
)

relayed_approvals: Final = Table(
    "relayed_approvals",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("device", Uuid, primary_key=True),
    Column("approval", Uuid, primary_key=True),
    Column("status", Text, nullable=False),
    Column("head", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    _time("put_at"),
    _time("expires_at"),
    _time("changed_at"),
)

relayed_answers: Final = Table(
    "relayed_answers",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("device", Uuid, primary_key=True),
    Column("approval", Uuid, primary_key=True),
    Column("sent_by", Text, primary_key=True),
    Column("answer", Uuid, nullable=False),
    Column("body", Text, nullable=False),
    _time("sent_at"),
    Column("word", Text),
    Column("message", Text),
)

leases: Final = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Uuid, nullable=False),
    _time("until"),
)
