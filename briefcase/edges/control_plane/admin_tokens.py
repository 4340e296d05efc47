"""Administrators, auditors and approvers: who a bearer token is, and which tenant it may see.

The tokens of the environment are of the tenant `default`. Others stand in the table, as hashes, one tenant each.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from briefcase.core.fleet.words import INVALID_TOKEN
from briefcase.core.wire.fleet import AdminToken, AdminTokenRevoked
from briefcase.edges.control_plane import schema
from briefcase.edges.control_plane.administrators import FIRST_ADMIN, Administrator
from briefcase.edges.control_plane.audit import ADMINISTRATOR_ADDED, ADMINISTRATOR_REVOKED, Act, append_act
from briefcase.edges.control_plane.bundles import Bundles
from briefcase.edges.control_plane.database import EVERY_TENANT, Database
from briefcase.edges.control_plane.device_calls import bearer_of, hash_token
from briefcase.edges.control_plane.refusals import CONFLICT, FORBIDDEN, INVALID_REQUEST, NOT_FOUND, RefusedError
from briefcase.model.ports import Clock, Entropy

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
TENANT: Final = re.compile(schema.TENANT_PATTERN)


class NewToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a token is asked for with; `tenant` is made where there is none of that name."""

    name: str
    role: Literal["admin", "auditor", "approver"]
    tenant: str = ""


class AdminTokens:
    """Knows administrators by their tokens.

    Args:
        database: where the named tokens are.
        bundles: makes the tenant of a new token.
        clock: tells when an act was done.
        entropy: makes tokens.
        first_tokens: those of the environment by role; empty where there is none.
    """

    def __init__(
        self, database: Database, bundles: Bundles, clock: Clock, entropy: Entropy, first_tokens: Mapping[str, str]
    ) -> None:
        self._database = database
        self._bundles = bundles
        self._clock = clock
        self._entropy = entropy
        self._first_tokens = first_tokens

    async def check(self, tokens: Sequence[str], *roles: str) -> Administrator:
        """Who a request's token is, if that is one of these roles.

        Args:
            tokens: every `authorization` field.
            roles: those that may do what is asked.

        Raises:
            RefusedError: there is no token (`missing_token`), or it is nobody's of these roles (`invalid_token`).
            UnavailableError: it could not be looked up.
        """
        token = bearer_of(tokens)
        for role, first in self._first_tokens.items():
            if first and role in roles and hmac.compare_digest(hash_token(token), hash_token(first)):
                return Administrator(schema.DEFAULT_TENANT, FIRST_ADMIN, role, is_first=True)
        table = schema.admin_tokens
        async with self._database.transaction(EVERY_TENANT) as connection:
            row = (
                await connection.execute(
                    select(table.c.tenant, table.c.name, table.c.role).where(
                        table.c.token_hash == hash_token(token), table.c.revoked_at.is_(None)
                    )
                )
            ).first()
        if row is None or row.role not in roles:
            raise RefusedError(INVALID_TOKEN, f"the token is not one of {' or '.join(roles)}")
        return Administrator(row.tenant, row.name, row.role)

    async def make(self, admin: Administrator, asked: NewToken) -> AdminToken:
        """Make a named token, and its tenant where that is new.

        Raises:
            RefusedError: the name or the tenant is not as it must be, or the name is taken, or the tenant is not the
                administrator's.
            UnavailableError: nobody knows whether it was made.

        Returns:
            The token, which is shown this once.
        """
        tenant = asked.tenant or admin.tenant
        if not NAME.fullmatch(asked.name) or not TENANT.fullmatch(tenant):
            raise RefusedError(INVALID_REQUEST, "expected `name` and `tenant` of letters, digits and `-`")
        if tenant != admin.tenant and not admin.is_first:
            raise RefusedError(FORBIDDEN, "expected the administrator of the environment for another tenant")
        token = self._entropy.token()
        async with self._database.transaction(tenant) as connection:
            await self._bundles.make_tenant(connection, msgspec.structs.replace(admin, tenant=tenant))
            made = await connection.execute(
                upsert(schema.admin_tokens)
                .values(tenant=tenant, name=asked.name, role=asked.role, token_hash=hash_token(token))
                .on_conflict_do_nothing()
            )
            if not made.rowcount:
                raise RefusedError(CONFLICT, f"`{asked.name}` has a token already")
            act = Act(tenant, admin.name, ADMINISTRATOR_ADDED, {"name": asked.name, "role": asked.role})
            await append_act(connection, act, self._clock.now_us())
        return AdminToken(tenant, asked.name, asked.role, token)

    async def revoke(self, admin: Administrator, name: str) -> AdminTokenRevoked:
        """End a named token of the administrator's tenant.

        Raises:
            RefusedError: there is none (`not_found`).
            UnavailableError: nobody knows whether it was ended.
        """
        table = schema.admin_tokens
        async with self._database.transaction(admin.tenant) as connection:
            ended = await connection.execute(
                update(table)
                .where(table.c.tenant == admin.tenant, table.c.name == name, table.c.revoked_at.is_(None))
                .values(revoked_at=func.now())
            )
            if not ended.rowcount:
                raise RefusedError(NOT_FOUND, "no such token is in force")
            act = Act(admin.tenant, admin.name, ADMINISTRATOR_REVOKED, {"name": name})
            await append_act(connection, act, self._clock.now_us())
        return AdminTokenRevoked(admin.tenant, name, "revoked")
