"""`briefcase providers`: where paid tools are answered, and the log-ins the daemon holds for them.

A log-in is made here, where the person and the browser are: this program listens on loopback for the answer, or takes
the address the person pastes. The code goes straight to the daemon; verifier and tokens never leave it. Only for a
daemon of the contract that begins no log-ins the verifier is made here.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import urlencode

import click

from briefcase.core.jose.pkce import METHOD, challenge_of
from briefcase.core.wire.providers import (
    CredentialFetched,
    LoginRevoked,
    LoginStarted,
    ProviderList,
    ProviderNamed,
    ProviderSummary,
)
from briefcase.edges.cli.app import App, check_name, json_option, pass_app
from briefcase.edges.cli.client import DaemonError, path_of
from briefcase.edges.cli.late import oauth_client, render
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.logins import Waiting, code_of, login_options, obtain, revocation_words
from briefcase.edges.cli.messages import note

NOUN: Final = ("v1", "providers")
CLIENT_ID: Final = "briefcase"
_NAMING: Final = frozenset({"delete", "clear-capabilities"})  # these answer the name alone

_id_argument = click.argument("provider_id", metavar="ID", callback=check_name)
_id_option = click.option("--id", "provider_id", metavar="ID", required=True, callback=check_name, help="Which one.")


@click.group(
    cls=LazyGroup,
    epilog=example(
        "briefcase providers upsert demo https://provider.example", "briefcase providers oauth-login --id demo"
    ),
)
def providers() -> None:
    """Name providers, log in to them, and contain one that misbehaves."""


@providers.command("list", epilog=example("briefcase providers list"))
@json_option
@pass_app
def list_providers(app: App, *, as_json: bool) -> None:
    """List the providers, and what the daemon holds for each."""
    reply = app.client().get(path_of(*NOUN), ProviderList)
    if as_json:
        app.json(reply.document)
        return
    rows = [
        (
            provider.id,
            render.styled("active" if provider.is_enabled else "disabled"),
            "needed" if provider.needs_login else "held",
            render.when(provider.vc_expires_at_rfc3339 or "") if provider.has_vc else "",
            provider.base_url,
            provider.problem,
        )
        for provider in reply.answer.providers
    ]
    columns = ("PROVIDER", "STATUS", "LOG-IN", "CREDENTIAL UNTIL", "ADDRESS", "PROBLEM")
    app.screen.table(columns, rows, empty="no providers: `briefcase providers upsert ID URL`")


@providers.command(
    "upsert",
    epilog=example(
        "briefcase providers upsert demo https://provider.example",
        "briefcase providers upsert demo https://provider.example --max-stale-secs 60",
    ),
)
@_id_argument
@click.argument("base_url", metavar="URL")
@click.option(
    "--max-stale-secs",
    type=click.IntRange(0),
    help="While it is down, serve a read from memory that is at most so old; 0 serves none.",
)
@json_option
@pass_app
def upsert_provider(app: App, *, provider_id: str, base_url: str, max_stale_secs: int | None, as_json: bool) -> None:
    """Add a provider, or move it.

    A log-in is for one address: moving a provider ends it.
    """
    body = {"base_url": base_url, "max_stale_s": max_stale_secs}
    reply = app.client().post(path_of(*NOUN, provider_id), ProviderSummary, body)
    if as_json:
        app.json(reply.document)
        return
    app.screen.line(f"`{provider_id}` is {reply.answer.base_url}")
    if reply.answer.needs_login:
        note(f"log in with `briefcase providers oauth-login --id {provider_id}`")


@providers.command("delete", epilog=example("briefcase providers delete demo"))
@_id_argument
@json_option
@pass_app
def delete_provider(app: App, *, provider_id: str, as_json: bool) -> None:
    """Remove a provider and everything held of it.

    Its log-in is forgotten here, and not ended at its server: `briefcase providers oauth-revoke` does that.
    """
    _act(app, provider_id, "delete", f"removed `{provider_id}`", as_json=as_json)


@providers.command("enable", epilog=example("briefcase providers enable demo"))
@_id_argument
@json_option
@pass_app
def enable_provider(app: App, *, provider_id: str, as_json: bool) -> None:
    """Let a provider be called again."""
    _act(app, provider_id, "enable", f"`{provider_id}` may be called", as_json=as_json)


@providers.command("disable", epilog=example("briefcase providers disable demo"))
@_id_argument
@json_option
@pass_app
def disable_provider(app: App, *, provider_id: str, as_json: bool) -> None:
    """Contain a provider: it is sent nothing, and its capability is dropped."""
    _act(app, provider_id, "disable", f"`{provider_id}` is sent nothing", as_json=as_json)


@providers.command("clear-capabilities", epilog=example("briefcase providers clear-capabilities demo"))
@_id_argument
@json_option
@pass_app
def clear_capabilities(app: App, *, provider_id: str, as_json: bool) -> None:
    """Drop the capability held; the next call has a new one minted."""
    _act(app, provider_id, "clear-capabilities", f"dropped the capability of `{provider_id}`", as_json=as_json)


@providers.command("vc-fetch", epilog=example("briefcase providers vc-fetch --id demo"))
@_id_option
@json_option
@pass_app
def fetch_credential(app: App, *, provider_id: str, as_json: bool) -> None:
    """Have the provider issue a credential, and keep it."""
    reply = app.client().post(path_of(*NOUN, provider_id, "vc", "fetch"), CredentialFetched)
    if as_json:
        app.json(reply.document)
    else:
        app.screen.line(f"`{provider_id}` issued a credential that is good until {reply.answer.expires_at_rfc3339}")


@providers.command("oauth-revoke", epilog=example("briefcase providers oauth-revoke --id demo"))
@_id_option
@json_option
@pass_app
def revoke_login(app: App, *, provider_id: str, as_json: bool) -> None:
    """End a log-in: here always, and at its server where that can be done."""
    reply = app.client().post(path_of(*NOUN, provider_id, "oauth", "revoke"), LoginRevoked)
    if as_json:
        app.json(reply.document)
        return
    app.screen.line(f"the log-in at `{provider_id}` is ended here, {revocation_words(reply.answer)}")
    if reply.answer.has_vc:
        note(f"its credential still entitles to calls: `briefcase providers disable {provider_id}` ends those too")


class _Wanted(NamedTuple):
    """What one log-in is made with."""

    provider_id: str
    client_id: str
    scope: str | None


@providers.command(
    "oauth-login",
    epilog=example(
        "briefcase providers oauth-login --id demo",
        "briefcase providers oauth-login --id demo --no-browser",
        "briefcase providers oauth-login --id demo --paste",
    ),
)
@_id_option
@click.option("--client-id", default=CLIENT_ID, show_default=True, help="Who the server knows this program as.")
@click.option("--scope", help="What to ask for.")
@login_options
@json_option
@pass_app
def log_in(
    app: App,
    /,
    *,
    provider_id: str,
    client_id: str,
    scope: str | None,
    as_json: bool,
    **how: object,
) -> None:
    """Log in to a provider, in a browser.

    Opens the provider's page and waits on loopback for its answer. With --paste nothing is opened and nothing listens:
    the browser may be on any machine, ends on an address it cannot load, and that address is what to paste.
    """
    wanted = _Wanted(provider_id, client_id, scope)
    begun, answer, redirect_uri = obtain(partial(_start, app, wanted), Waiting.of(how))
    oauth_client.check_answer(begun, answer.state, answer.iss)
    exchange: dict[str, str | None] = {"code": code_of(answer, "provider")}
    if isinstance(begun, oauth_client.Started):
        exchange |= {"redirect_uri": redirect_uri, "client_id": client_id, "code_verifier": begun.code_verifier}
    else:
        exchange |= {"state": answer.state, "iss": answer.iss}
    reply = app.client().post(path_of(*NOUN, provider_id, "oauth", "exchange"), ProviderNamed, exchange)
    if as_json:
        app.json(reply.document)
    else:
        app.screen.line(f"logged in to `{provider_id}`")


def _start(app: App, wanted: _Wanted, redirect_uri: str) -> oauth_client.Begun:
    body = {"client_id": wanted.client_id, "redirect_uri": redirect_uri, "scope": wanted.scope}
    try:
        begun = app.client().post(path_of(*NOUN, wanted.provider_id, "oauth", "start"), LoginStarted, body).answer
    except DaemonError as error:
        known = {one.id: one.base_url for one in app.client().get(path_of(*NOUN), ProviderList).answer.providers}
        if error.code != "not_found" or wanted.provider_id not in known:
            raise
        return _begin_here(wanted, known[wanted.provider_id], redirect_uri)
    return oauth_client.Begun(begun.authorization_url, begun.state, begun.issuer, begun.requires_iss)


def _begin_here(wanted: _Wanted, base_url: str, redirect_uri: str) -> oauth_client.Started:
    """Begin a log-in for a daemon that only finishes them: the verifier is this program's, and goes to that daemon."""
    verifier, state = secrets.token_urlsafe(), secrets.token_urlsafe()
    query = {
        "response_type": "code",
        "client_id": wanted.client_id,
        "redirect_uri": redirect_uri,
        "state": state,
        "code_challenge": challenge_of(verifier),
        "code_challenge_method": METHOD,
        **({"scope": wanted.scope} if wanted.scope else {}),
    }
    url = f"{base_url.rstrip('/')}/oauth/authorize?{urlencode(query)}"
    return oauth_client.Started(url, state, base_url, requires_iss=False, code_verifier=verifier)


def _act(app: App, provider_id: str, action: str, done: str, *, as_json: bool) -> None:
    kind = ProviderNamed if action in _NAMING else ProviderSummary
    reply = app.client().post(path_of(*NOUN, provider_id, action), kind)
    if as_json:
        app.json(reply.document)
    else:
        app.screen.line(done)
