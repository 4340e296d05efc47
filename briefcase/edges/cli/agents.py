"""`briefcase agents`: who may call tools, each by name, with a token shown once."""

from __future__ import annotations

import click

from briefcase.core.wire.agents import AgentCreated, AgentList, AgentRevoked
from briefcase.edges.cli.app import App, check_name, json_option, pass_app
from briefcase.edges.cli.client import path_of
from briefcase.edges.cli.late import render
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.names import complete_agent


@click.group(
    cls=LazyGroup, epilog=example("briefcase agents add scout --group research", "briefcase agents revoke scout")
)
def agents() -> None:
    """Name agents and give each its own token."""


@agents.command("add", epilog=example("briefcase agents add scout", "briefcase agents add scout --group research"))
@click.argument("name")
@click.option("--group", "groups", multiple=True, metavar="G", help="A group the policy may name; repeat for more.")
@click.option(
    "--decides-for",
    default="",
    metavar="PATTERN",
    help="The agents it may ask decisions for (a policy enforcement point): names, `*` for any characters.",
)
@json_option
@pass_app
def add_agent(app: App, *, name: str, groups: tuple[str, ...], decides_for: str, as_json: bool) -> None:
    """Add an agent and print its token.

    The token is printed once: it is not stored, so it cannot be shown again. The agent, or the gateway that speaks
    for it, sends it as its bearer token.
    """
    wanted = {"name": name, "groups": list(groups)} | ({"decides_for": decides_for} if decides_for else {})
    reply = app.client().post("/v1/agents", AgentCreated, wanted)
    if as_json:
        app.json(reply.document)
        return
    click.echo(reply.answer.token)
    note(f"the token of `{name}`, shown this once: set it as BRIEFCASE_AUTH_TOKEN where the agent runs")


@agents.command("list", epilog=example("briefcase agents list"))
@json_option
@pass_app
def list_agents(app: App, *, as_json: bool) -> None:
    """List the agents, revoked ones too."""
    reply = app.client().get("/v1/agents", AgentList)
    if as_json:
        app.json(reply.document)
        return
    rows = [
        (
            agent.name,
            render.styled("revoked" if agent.revoked_at else "active"),
            render.when(agent.revoked_at or agent.created_at),
            ", ".join(agent.groups),
            agent.decides_for,
        )
        for agent in reply.answer.agents
    ]
    app.screen.table(
        ("AGENT", "STATUS", "SINCE", "GROUPS", "DECIDES FOR"), rows, empty="no agents: `briefcase agents add NAME`"
    )


@agents.command("revoke", epilog=example("briefcase agents revoke scout"))
@click.argument("name", callback=check_name, shell_complete=complete_agent)
@json_option
@pass_app
def revoke_agent(app: App, *, name: str, as_json: bool) -> None:
    """End an agent's access: its token is refused from now on."""
    reply = app.client().post(path_of("v1", "agents", name, "revoke"), AgentRevoked)
    if as_json:
        app.json(reply.document)
    else:
        app.screen.line(f"revoked `{name}`")
