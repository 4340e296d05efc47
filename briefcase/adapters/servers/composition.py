"""The log-ins at MCP servers put together, for the composition root."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from briefcase.adapters.keys.places import ProofKeys
from briefcase.adapters.oauth.client import OAuthClient
from briefcase.adapters.oauth.custody import Custody
from briefcase.adapters.oauth.discovery import Discovery
from briefcase.adapters.oauth.flow import LoginFlow
from briefcase.adapters.oauth.registration import Registrar
from briefcase.adapters.oauth.renewal import Renewals
from briefcase.adapters.servers.accounts import Accounts
from briefcase.adapters.servers.logins import LOGIN_COMMAND, Logins
from briefcase.model.ports import BoundSecrets, Clock, Entropy, Outbound, Secrets


class LoginParts(msgspec.Struct, frozen=True):
    """What the daemon uses: the accounts for its transports, the log-ins for its API."""

    accounts: Accounts
    logins: Logins


def compose_logins(
    *,
    secrets: Secrets,
    operator_secrets: BoundSecrets,
    remember: Callable[[bytes, str], object],
    outbound: Outbound,
    clock: Clock,
    entropy: Entropy,
    keys: ProofKeys | None = None,
) -> LoginParts:
    """Put the parts together; `Accounts.close` ends their use.

    Args:
        secrets: the vault's `mcp` compartment.
        operator_secrets: the operator's own, for clients that were registered by hand.
        remember: `Vault.remember`, so that the redactor knows each token by itself.
        outbound: the guarded way out.
        clock: the time.
        entropy: ids of proofs, states and verifiers.
        keys: where proof keys are; by default in the vault.
    """
    custody, oauth = Custody(secrets, remember, "MCP server", keys), OAuthClient(outbound, clock, entropy)
    accounts = Accounts(custody, Renewals(custody, oauth, clock), clock, entropy)
    flow = LoginFlow(oauth, clock, LOGIN_COMMAND)
    logins = Logins(accounts, Discovery(outbound, oauth), Registrar(outbound, operator_secrets), flow)
    return LoginParts(accounts, logins)
