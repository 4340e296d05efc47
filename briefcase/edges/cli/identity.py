"""`briefcase identity`: which daemon this is, and how strict."""

from __future__ import annotations

import click

from briefcase.core.characters.marks import visible_text
from briefcase.core.wire.identity import IdentityAnswer, ProfileAnswer
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.lazy import LazyGroup, example


@click.group(cls=LazyGroup, epilog=example("briefcase identity show"))
def identity() -> None:
    """Show who this daemon is."""


@identity.command("show", epilog=example("briefcase identity show", "briefcase identity show --json"))
@json_option
@pass_app
def show_identity(app: App, *, as_json: bool) -> None:
    """Show the daemon's did:key and the profile it enforces."""
    client = app.client()
    reply, profile = client.get("/v1/identity", IdentityAnswer), client.get("/v1/profile", ProfileAnswer).answer
    if as_json:
        app.json({**reply.document, "strict_enforcement": profile.strict_enforcement})
        return
    who = reply.answer
    app.screen.fields(
        [
            ("identity", who.did),
            ("profile", f"{who.profile_mode} ({who.compatibility_profile})"),
            *((name, place) for name, place in _places(who) if place),
            ("strict", "yes" if profile.strict_enforcement else "no"),
            ("daemon", str(client.address)),
        ]
    )


def _places(who: IdentityAnswer) -> tuple[tuple[str, str], ...]:
    """Where the daemon's keys are; an older daemon does not say."""
    return ("identity key", visible_text(who.identity_key)), ("proof keys", visible_text(who.proof_keys))
