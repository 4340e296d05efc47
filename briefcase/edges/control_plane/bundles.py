"""Publishing a policy bundle, and the present one of a tenant.

A bundle is never changed; what a device gets is the very bytes that were signed. Its id comes from the tenant's head
row, in the transaction that stores it: a publication that is refused uses no id, and two at once get two. Once another
key signs, a process signs those bytes anew, where the signature that is stored is by a key before it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
from sqlalchemy import Row, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from briefcase.core.fleet.bundles import (
    MAX_BUDGETS,
    MAX_CATEGORY_CHARS,
    MAX_POLICY_BYTES,
    PolicyBundle,
    PolicyKey,
    is_signed_by,
)
from briefcase.core.fleet.words import INVALID_BUDGET, INVALID_POLICY_TEXT
from briefcase.core.jose.base64url import encode_base64url
from briefcase.core.policy.check import DEFAULT_POLICY_TEXT, check_policy
from briefcase.edges.control_plane import schema
from briefcase.edges.control_plane.administrators import Administrator
from briefcase.edges.control_plane.audit import PUBLISHED, TENANT_MADE, Act, append_act
from briefcase.edges.control_plane.database import CHANGES, Database, UnavailableError
from briefcase.edges.control_plane.refusals import CONFLICT, RefusedError
from briefcase.edges.control_plane.signing_keys import Signer, SigningKeys
from briefcase.model.errors import CallerError
from briefcase.model.ports import Clock
from briefcase.model.types import COMPATIBILITY_PROFILE, MAX_SAFE_INTEGER, format_rfc3339

DEFAULT_BUDGETS: Final = {"read": 3_000_000, "write": 0, "admin": 0}  # micro-USD a day
MAX_KEPT: Final = 1_024  # bundles in memory, of all tenants


class Bundles:
    """The bundles of every tenant.

    Args:
        database: where they are.
        keys: sign them.
        clock: tells when they were published.
    """

    def __init__(self, database: Database, keys: SigningKeys, clock: Clock) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock
        self._kept: dict[tuple[str, int, PolicyKey], bytes] = {}
        self._reading = asyncio.Lock()

    async def make_tenant(self, connection: AsyncConnection, admin: Administrator) -> bool:
        """Make an administrator's tenant with the default policy, where there is none of this name.

        Returns:
            Whether it was made.
        """
        tenant = admin.tenant
        made = await connection.execute(upsert(schema.tenants).values(tenant=tenant).on_conflict_do_nothing())
        if not made.rowcount:
            return False
        await append_act(connection, Act(tenant, admin.name, TENANT_MADE), self._clock.now_us())
        await connection.execute(insert(schema.bundle_heads).values(tenant=tenant, bundle_id=0, last_id=0))
        await self.store(connection, admin, DEFAULT_POLICY_TEXT.strip(), DEFAULT_BUDGETS)
        return True

    async def publish(self, admin: Administrator, policy_text: str, budgets: dict[str, int]) -> bytes:
        """Sign a bundle and give it to all devices; those that wait hear of it.

        Args:
            admin: whose devices it is for.
            policy_text: Cedar; white space around it is dropped.
            budgets: daily limits by category, micro-USD.

        Raises:
            RefusedError: the text or a budget is not as it must be, or a rollout is under way (`conflict`).
            MissingKeyError: this process cannot sign.
            UnavailableError: nobody knows whether it was published.

        Returns:
            The signed bundle as devices get it, `{bundle, signature_b64}`.
        """
        policy_text = policy_text.strip()
        await asyncio.to_thread(check_text, policy_text)
        check_budgets(budgets)
        async with self._database.transaction(admin.tenant) as connection:
            await self.lock_head(connection, admin.tenant)
            await self.check_none_under_way(connection, admin.tenant)
            bundle_id = await self.store(connection, admin, policy_text, budgets)
        return await self.get(admin.tenant, bundle_id, await self._keys.present())

    async def current(self, tenant: str) -> tuple[int, bytes]:
        """The id of a tenant's bundle for all, and the bundle as devices get it. Raises as `get`."""
        (head,) = await self._database.fetch("select bundle_id from bundle_heads where tenant = $1", tenant)
        bundle_id: int = head["bundle_id"]
        return bundle_id, await self.get(tenant, bundle_id, await self._keys.present())

    async def get(self, tenant: str, bundle_id: int, signer: Signer) -> bytes:
        """A bundle as devices get it.

        Args:
            tenant: whose it is.
            bundle_id: which.
            signer: what signs now.

        Raises:
            UnavailableError: it could not be read, or no key of this control plane signed what is stored.
        """
        found = (tenant, bundle_id, signer.key.public_b64)
        kept = self._kept.get(found)
        if kept is not None:
            return kept
        async with self._reading:  # of thousands that waited for it, one reads
            if found in self._kept:
                return self._kept[found]
            async with self._database.transaction(tenant) as connection:
                row = await _row(connection, tenant, bundle_id)
            sent = self._kept[found] = _as_sent(row.bundle, _signature_by(signer, row))
        if len(self._kept) > MAX_KEPT:  # bundles never change: any process may keep one, the oldest go
            del self._kept[next(iter(self._kept))]
        return sent

    async def read(self, connection: AsyncConnection, tenant: str, bundle_id: int) -> PolicyBundle:
        """What a bundle says."""
        row = await _row(connection, tenant, bundle_id)
        return msgspec.json.decode(row.bundle, type=PolicyBundle)

    async def lock_head(self, connection: AsyncConnection, tenant: str) -> int:
        """Take the locks under which bundles are published and rollouts go on; the bundle for all is returned."""
        heads = schema.bundle_heads
        found = await connection.execute(select(heads.c.bundle_id).where(heads.c.tenant == tenant).with_for_update())
        bundle_id: int = found.scalar_one()
        await self._keys.hold(connection)  # before an act is written, as whoever switches keys does
        return bundle_id

    async def check_none_under_way(self, connection: AsyncConnection, tenant: str) -> None:
        """Check that nothing else decides who gets which bundle.

        Raises:
            RefusedError: a rollout does (`conflict`).
        """
        table = schema.rollouts
        query = select(table.c.rollout_id).where(table.c.tenant == tenant, table.c.state.in_(("canary", "active")))
        rollout_id = await connection.scalar(query)
        if rollout_id is not None:
            raise RefusedError(CONFLICT, f"rollout {rollout_id} is under way: let it be done, or roll it back, first")

    async def tell(self, connection: AsyncConnection, tenant: str) -> None:
        """Tell every process, with the commit, that devices of a tenant get something new."""
        await connection.execute(text("select pg_notify(:channel, :tenant)"), {"channel": CHANGES, "tenant": tenant})

    async def give_to_all(self, connection: AsyncConnection, tenant: str, bundle_id: int) -> None:
        """Make a stored bundle the one for all devices."""
        heads = schema.bundle_heads
        await connection.execute(
            update(heads).where(heads.c.tenant == tenant).values(bundle_id=bundle_id, given_at=func.now())
        )
        await self.tell(connection, tenant)

    async def store(
        self,
        connection: AsyncConnection,
        admin: Administrator,
        policy_text: str,
        budgets: dict[str, int],
        *,
        is_for_all: bool = True,
    ) -> int:
        """Sign a bundle under the next id and store it, in the caller's transaction.

        Args:
            connection: with the lock of the head.
            admin: whose devices it is for.
            policy_text: checked Cedar.
            budgets: checked limits.
            is_for_all: whether all devices get it now.

        Returns:
            Its id.
        """
        now_us = self._clock.now_us()
        key = await self._keys.for_publication(connection)
        heads = schema.bundle_heads
        moved = await connection.execute(
            update(heads)
            .where(heads.c.tenant == admin.tenant)
            .values(last_id=heads.c.last_id + 1)
            .returning(heads.c.last_id)
        )
        bundle_id: int = moved.scalar_one()
        updated_at = format_rfc3339(now_us).removesuffix("Z") + "+00:00"
        message, signature = key.sign_bundle(
            PolicyBundle(bundle_id, COMPATIBILITY_PROFILE, policy_text, budgets, updated_at)
        )
        await connection.execute(
            insert(schema.bundles).values(
                tenant=admin.tenant,
                bundle_id=bundle_id,
                bundle=message,
                signature=signature,
                published_by=admin.name,
            )
        )
        await append_act(connection, Act(admin.tenant, admin.name, PUBLISHED, {"bundle_id": bundle_id}), now_us)
        if is_for_all:
            await self.give_to_all(connection, admin.tenant, bundle_id)
        else:
            await self.tell(connection, admin.tenant)
        return bundle_id


async def _row(connection: AsyncConnection, tenant: str, bundle_id: int) -> Row[*tuple[Any, ...]]:
    table = schema.bundles
    query = select(table.c.bundle, table.c.signature).where(table.c.tenant == tenant, table.c.bundle_id == bundle_id)
    return (await connection.execute(query)).one()


def _signature_by(signer: Signer, row: Row[*tuple[Any, ...]]) -> bytes:
    """The present key's signature over a stored bundle, where one of this control plane's keys signed it before.

    Raises:
        UnavailableError: none did: the row is none of ours.
    """
    key = signer.key
    if is_signed_by(key.public_b64, row.bundle, row.signature):
        signature: bytes = row.signature
        return signature
    if not any(is_signed_by(earlier, row.bundle, row.signature) for earlier in reversed(signer.earlier)):
        raise UnavailableError("a stored bundle is signed by no key of this control plane's")
    return key.sign(row.bundle)


def check_text(policy_text: str) -> None:
    """Check that a policy's text can be published.

    Raises:
        RefusedError: it is empty, too long, or not Cedar that fits the schema (`invalid_policy_text`).
    """
    check_size(policy_text, INVALID_POLICY_TEXT)
    try:
        check_policy(policy_text)
    except CallerError as error:
        raise RefusedError(INVALID_POLICY_TEXT, error.message) from None


def check_size(policy_text: str, word: str) -> None:
    """Check how long a text is.

    Raises:
        RefusedError: it is empty or too long, with this word.
    """
    size = len(policy_text.encode(errors="replace"))
    if not 0 < size <= MAX_POLICY_BYTES:
        raise RefusedError(word, f"expected a policy of 1 to {MAX_POLICY_BYTES} bytes, got {size}")


def check_budgets(budgets: dict[str, int]) -> None:
    """Check daily limits.

    Raises:
        RefusedError: one is negative or too large, or a category has no name (`invalid_budget`).
    """
    if len(budgets) > MAX_BUDGETS:
        raise RefusedError(INVALID_BUDGET, f"expected at most {MAX_BUDGETS} budgets, got {len(budgets)}")
    for category, limit in budgets.items():
        if not 0 < len(category) <= MAX_CATEGORY_CHARS or not category.isprintable():
            raise RefusedError(INVALID_BUDGET, f"expected categories of 1 to {MAX_CATEGORY_CHARS} visible characters")
        if not 0 <= limit <= MAX_SAFE_INTEGER:
            raise RefusedError(INVALID_BUDGET, f"expected a daily limit of 0 or more for `{category}`")


def _as_sent(message: bytes, signature: bytes) -> bytes:
    return msgspec.json.encode({"bundle": msgspec.Raw(message), "signature_b64": encode_base64url(signature)})
