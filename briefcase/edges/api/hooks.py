"""Hooks of coding agents: `POST /v1/hooks/<client>` takes a client's event and answers in its own words.

 - a tool is about to run: the call is decided, receipted and closed at once (`Calls.hook`); what a person must approve
   is held for `[hooks] wait_ms` and then denied, or left to the client's own prompt
 - a tool has run: what the client tells is recorded beside the call's receipt, once
 - anything else that the client documents: nothing is decided

The agent is the token's: an event names none that counts.

# INVARIANT (closed): whatever goes wrong, the answer is a 200 with a denial in it. These clients take any other answer,
# and any other text, for none, and let the call go on.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from briefcase.core.calls.answers import ALLOWED, Answer
from briefcase.core.hooks.clients import CLIENTS
from briefcase.core.hooks.events import Answer as Word
from briefcase.core.hooks.events import Client, Event, Phase, Ruling, report_id_of
from briefcase.core.hooks.words import told_of_asking, told_of_denial, told_of_fault, told_of_waiting
from briefcase.core.json.strict import parse as parse_json
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.receipts.events import APPROVAL_REQUIRED, ASKED_CLIENT
from briefcase.core.wire.calls import NOT_ALLOWED, CallDenied, CallNeedsApproval
from briefcase.core.wire.fields import given
from briefcase.core.wire.hooks import HookAnswer, HookEvent
from briefcase.edges.api.routing import AGENTS, Handler, Request, Route
from briefcase.edges.api.services import Services
from briefcase.edges.api.tools import waited
from briefcase.edges.http.routing import Reply
from briefcase.model import reasons
from briefcase.model.errors import BriefcaseError, CallerError
from briefcase.model.types import JsonObject, JsonValue, ToolCall

UNDECIDED: Final = "not_found"

_ALLOW: Final = Ruling(Word.ALLOW)
_NOTHING: Final = Ruling(Word.NOTHING)


async def take(client: Client, services: Services, request: Request) -> Reply:
    """Answer one event of a client."""
    document: JsonValue = None
    try:
        document = parse_json(request.body)
        event = client.read(document)
    except CallerError as error:
        problem = error
    else:
        ruling = await _ruling(client, services, request, event)
        return Reply(client.answer(event, ruling), is_filtered=not ruling.told)  # else all words are ours
    fault = await services.calls.refusals.refuse(request.principal, problem, request.body)
    return Reply(client.refuse(document, told_of_fault(fault.code, fault.message)))


async def _ruling(client: Client, services: Services, request: Request, event: Event) -> Ruling:
    match event.phase:
        case Phase.BEFORE | Phase.PERMISSION:
            return await _decide(client, services, request, event)
        case Phase.AFTER:
            return await _observe(services, request, event)
        case Phase.SESSION | Phase.NOTHING:
            return _NOTHING


async def _decide(client: Client, services: Services, request: Request, event: Event) -> Ruling:
    if event.request_id and services.calls.reports.is_told(request.principal, report_id_of(event.request_id)):
        receipt_id = await services.calls.refusals.turn_down(request.principal, reasons.REPLAY_DETECTED, request.body)
        return Ruling(Word.DENY, told_of_denial(reasons.REPLAY_DETECTED, receipt_id=receipt_id))
    asks_client = client.can_ask and services.hooks.asks_client
    call = ToolCall(
        tool_id=event.tool_id,
        args=event.args,
        canonical_args=canonical_bytes(event.args),
        request_id=event.request_id or services.entropy.uuid(),
        began_ns=services.clock.monotonic_ns(),
        session_id=event.session_id,
    )
    decide = partial(services.calls.hook, asks_client=asks_client)
    answer = await decide(request.principal, call)
    if answer.status == APPROVAL_REQUIRED and services.hooks.wait_ms:
        answer = await waited(services, request, call, answer, services.hooks.wait_ms, decide)
    services.meter.count_answer(answer.status, answer.reason, answer.timing_us)
    return _ruling_of(answer)


def _ruling_of(answer: Answer) -> Ruling:
    if answer.status == ALLOWED:
        return _ALLOW
    if answer.status == ASKED_CLIENT:
        return Ruling(Word.ASK, told_of_asking(answer.reason))
    said = NOT_ALLOWED.decode(answer.body)
    match said:
        case CallNeedsApproval():
            return Ruling(Word.DENY, told_of_waiting(said.approval.id, said.approval.reason))
        case CallDenied():
            return Ruling(Word.DENY, told_of_denial(said.reason, given(said.advice, ""), answer.receipt_id))


async def _observe(services: Services, request: Request, event: Event) -> Ruling:
    request_id = event.request_id
    if request_id is None:
        return _NOTHING
    is_recorded = await services.calls.reports.record(
        request.principal,
        event.tool_id,
        request_id,
        report_id=report_id_of(request_id),
        output=event.output,
        error=event.error,
    )
    if is_recorded:
        return _NOTHING
    told = "the client says that it ran a call that was not decided here"
    reason = reasons.with_detail(UNDECIDED, told)
    await services.calls.refusals.turn_down(request.principal, reason, request.body)
    return Ruling(Word.DENY, told_of_fault(UNDECIDED, told))


def _handler_of(client: Client) -> Handler:
    async def handler(services: Services, request: Request) -> Reply:
        return await take(client, services, request)

    handler.__name__ = f"take_{client.name.replace('-', '_')}_event"
    return handler


def _refusal_of(client: Client, fault: BriefcaseError) -> JsonObject:
    return client.refuse({"hook_event_name": client.before}, told_of_fault(fault.code, fault.message))


ROUTES: Final = tuple(
    Route(
        "POST",
        f"/v1/hooks/{client.name}",
        AGENTS,
        _handler_of(client),
        f"An event of a hook of {client.title}",
        HookAnswer,
        body=HookEvent,
        holds=True,
        refused_as=partial(_refusal_of, client),
    )
    for client in CLIENTS.values()
)
