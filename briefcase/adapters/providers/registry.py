"""The providers an operator has named: kept in `briefcase.sqlite`, read from memory."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from briefcase.adapters.net.urls import parse_url
from briefcase.adapters.store.database import Database
from briefcase.core.operator.providers import source_of
from briefcase.model.errors import CallerError
from briefcase.model.identifiers import PROVIDER_ID

MAX_STALE_S: Final = 86_400
_ID: Final = re.compile(PROVIDER_ID)


class Provider(msgspec.Struct, frozen=True):
    """One provider.

    `base_url` has no trailing slash. `max_stale_s` is how old a remembered answer to a read may be while the provider
    is down; 0, which is the default, means that none is served.
    """

    id: str
    base_url: str
    max_stale_s: int = 0
    updated_us: int = 0


class Providers:
    """The providers of one database.

    Args:
        database: where they are kept.
        is_disabled: tells whether a control in force disables a source (`controls.Controls.is_disabled`).
    """

    def __init__(self, database: Database, is_disabled: Callable[[str], bool]) -> None:
        self._database = database
        self._is_disabled = is_disabled
        self._known: dict[str, Provider] = database.run_now(_load)
        self._disabled_rows: set[str] = database.run_now(_load_disabled)
        self._changing = asyncio.Lock()  # the map changes in the order the table does

    def find(self, provider_id: str) -> Provider | None:
        """One provider, or None."""
        return self._known.get(provider_id)

    def get(self, provider_id: str) -> Provider:
        """One provider.

        Raises:
            CallerError: there is none of that id (`not_found`).
        """
        provider = self._known.get(provider_id)
        if provider is None:
            raise CallerError(
                f"there is no provider `{provider_id[:64]}`",
                code="not_found",
                hint="run `briefcase providers list`, or add one: `briefcase providers upsert ID URL`",
            )
        return provider

    def list(self) -> Sequence[Provider]:
        """All providers by id."""
        return [self._known[provider_id] for provider_id in sorted(self._known)]

    def is_enabled(self, provider_id: str) -> bool:
        """Whether anything may be sent to a provider."""
        return not self._is_disabled(source_of(provider_id)) and provider_id not in self._disabled_rows

    def disabled_rows(self) -> Sequence[str]:
        """The providers that an older release disabled in their rows, by id."""
        return sorted(self._disabled_rows)

    async def enable_row(self, provider_id: str) -> None:
        """Take a provider's row out of the way of controls. Raises as `put`."""
        self._disabled_rows.discard(provider_id)
        await self.put(self.get(provider_id))

    async def put(self, provider: Provider) -> None:
        """Add or replace one; durable when it returns.

        Raises:
            CallerError: the id, the URL or the age is not as expected.
            StoreError: it could not be stored.
        """
        check_provider(provider)
        is_enabled = provider.id not in self._disabled_rows  # the column is of older releases: controls say so now
        row = provider.id, provider.base_url, is_enabled, provider.max_stale_s, provider.updated_us

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO providers VALUES (?, ?, ?, ?, ?)", row)

        async with self._changing:
            await self._database.run(write)
            self._known[provider.id] = provider

    async def delete(self, provider_id: str) -> None:
        """Remove one. Raises as `put`."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM providers WHERE id = ?", (provider_id,))

        async with self._changing:
            await self._database.run(write)
            self._known.pop(provider_id, None)
            self._disabled_rows.discard(provider_id)


def check_provider(provider: Provider) -> None:
    """Check what an operator gave.

    Raises:
        CallerError: the id is not of `identifiers.PROVIDER_ID`, the URL not a plain one, or the age out of range.
    """
    if not _ID.fullmatch(provider.id):
        raise CallerError(f"expected a provider id of 1 to 48 characters `a-z 0-9 _ -`, got `{provider.id[:64]}`")
    check_base_url(provider.base_url)
    if not 0 <= provider.max_stale_s <= MAX_STALE_S:
        raise CallerError(f"expected `max_stale_s` from 0 to {MAX_STALE_S}, got {provider.max_stale_s}")


def check_base_url(base_url: str) -> None:
    """Check an address that paths are appended to.

    Raises:
        CallerError: it is no URL in one reading, or has a query or a trailing slash.
    """
    try:
        parse_url(base_url)
    except ValueError as error:
        raise CallerError(str(error)) from None
    if base_url.endswith("/") or "?" in base_url:
        raise CallerError("expected a base URL without a trailing slash and without a query")


def _load(connection: sqlite3.Connection) -> dict[str, Provider]:
    rows = connection.execute("SELECT id, base_url, max_stale_s, updated_us FROM providers")
    return {row[0]: Provider(*row) for row in rows}


def _load_disabled(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT id FROM providers WHERE is_enabled = 0")}
