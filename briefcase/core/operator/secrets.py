"""Secrets: named values that tools are given credentials from, each with the destinations it may go to.

| a crash after the intent of | leaves | the next start |
|---|---|---|
| `set` | the old value or the new one | says so (`outcome_unknown`), or that no secret is set |
| `bind` | the old destinations or the new ones | binds to the new ones, with a receipt |
| `remove` | the secret, bound to nothing, or no secret | removes it, with a receipt |

Of `set` nobody can know: no event holds a value. With destinations given, what is left goes to them or nowhere, never
where it is not for; the operator sets it again. The order of a change of value and destinations is `vault.bindings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from briefcase.core.operator.administration import Administration, Settler
from briefcase.core.operator.vocabulary import check_no_word
from briefcase.core.receipts.events import change_finished_event, change_undone_event, secret_event
from briefcase.model.errors import CallerError
from briefcase.model.ports import BindableSecrets
from briefcase.model.types import JsonObject


class SecretAdmin:
    """Sets, binds and removes secrets.

    Args:
        administration: takes the receipts.
        secrets: where they are kept.
    """

    def __init__(self, administration: Administration, secrets: BindableSecrets) -> None:
        self._administration = administration
        self._secrets = secrets

    async def set(self, name: str, value: bytes, destinations: Sequence[str] | None, by: str) -> None:
        """Set a secret; it and its receipt are durable when this returns.

        Args:
            name: `[a-z0-9._-]{1,64}`.
            value: what to keep.
            destinations: the only ones it may go to; None keeps what it was bound to.
            by: who sets it, for the receipt.

        Raises:
            CallerError: the name or the value is not as expected, or the value is a word of the daemon's own.
            StoreError: the vault failed, or as `Administration.make`.
        """
        check_no_word(value)
        await self._administration.make(
            _subject(name),
            secret_event("set", name, by, destinations),
            lambda: self._secrets.put(name, value, destinations),
        )

    async def bind(self, name: str, destinations: Sequence[str], by: str) -> Sequence[str]:
        """Say where a secret may go, in place of what was said; durable when this returns.

        Raises:
            CallerError: there is no such secret (`not_found`).
            StoreError: as `set`.

        Returns:
            The destinations, sorted.
        """
        await self._check_known(name)
        return await self._administration.make(
            _subject(name),
            secret_event("bound", name, by, destinations),
            lambda: self._secrets.bind(name, destinations),
        )

    async def remove(self, name: str, by: str) -> None:
        """Remove a secret and where it may go. Raises as `bind`."""
        await self._check_known(name)

        async def remove() -> None:
            if not await self._secrets.delete(name):
                raise _no_secret(name)

        await self._administration.make(_subject(name), secret_event("removed", name, by), remove)

    def settlers(self) -> Mapping[str, Settler]:
        """What the next start does after a crash: see the module's table."""
        return {
            "secret_set": self._look_at_set,
            "secret_bound": self._finish_bind,
            "secret_removed": self._finish_remove,
        }

    async def _look_at_set(self, event: JsonObject) -> JsonObject | None:
        is_known = event["name"] in await self._secrets.names()
        return None if is_known else change_undone_event(event)

    async def _finish_bind(self, event: JsonObject) -> JsonObject | None:
        name, hosts = str(event["name"]), event.get("hosts")
        if not isinstance(hosts, list):
            return None
        await self._secrets.bind(name, [str(host) for host in hosts])
        return change_finished_event(event)

    async def _finish_remove(self, event: JsonObject) -> JsonObject:
        await self._secrets.delete(str(event["name"]))
        return change_finished_event(event)

    async def _check_known(self, name: str) -> None:
        if name not in await self._secrets.names():
            raise _no_secret(name)


def _subject(name: str) -> str:
    return f"secret:{name}"


def _no_secret(name: str) -> CallerError:
    return CallerError(f"no secret `{name}`", code="not_found", hint="see `briefcase secrets list`")
