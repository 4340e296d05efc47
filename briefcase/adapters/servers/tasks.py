"""Calls that servers run as tasks: who began them, and what was heard of them since.

A task that a call became is the agent's own: it has an id of ours, which is 128 random bits and finds it for nobody
else, and the server's own id stays here. What is kept is in memory: a task outlives the gateway that began it, and not
the daemon, with which the processes of its servers end, too.

INVARIANT (own task): whatever is asked of a task is asked by the agent whose call it is, of the server that it was
called on, while the tool is what it was then.
INVARIANT (one round): what a server asks midway is answered once. Each question has a nonce of its own, which is in the
digest that an approval of the answers is bound to, and is taken in the transaction of their intent.
A task that was cancelled has no result, whatever its server says of it later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import msgspec

from briefcase.adapters.servers.exchanges import Exchange
from briefcase.adapters.servers.flows import MAX_QUESTION_BYTES, MAX_SUSPENDED_PER_SERVER, STATE_TTL_US, Ask
from briefcase.adapters.servers.session import Running, ServerRpcError, Session
from briefcase.core.mcp.jsonrpc import as_object
from briefcase.core.mcp.protocol import is_stateless
from briefcase.core.mcp.tasks import MAX_TTL_MS, Status, Task, of_task, read_task, shown_task
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.ports import Entropy, Redactor
from briefcase.model.types import JsonObject

MAX_TASKS: Final = 1_024
MAX_TASKS_PER_PRINCIPAL: Final = 64
_US_PER_MS: Final = 1_000


class OpenTask:
    """One task of one agent.

    `nonce` names what its server asks now, "" where it asks nothing; `question` is that as canonical JSON without
    secrets, "" where it is too large to be shown. `running` is the request for the result beside which a server of
    2025-11-25 asked.
    """

    def __init__(self, task_id: str, principal: str, server_id: str, ask: Ask, intent_id: int) -> None:
        self.id = task_id
        self.principal = principal
        self.server_id = server_id
        self.ask = ask
        self.first_intent_id = intent_id
        self.told = Task("", "working")
        self.ends_us = 0
        self.is_cancelled = False
        self.running: Running | None = None
        self.session: Session | None = None
        self.nonce = ""
        self.asked_us = 0
        self.question = ""
        self.asked_digest = b""


class Tasks:
    """The tasks that are open.

    Args:
        now_us: the time by which they end, which never goes back (`ports.Ledger.now_us`).
        entropy: names tasks and what they ask.
        redactor: cuts secrets out of what is kept of a question.
    """

    def __init__(self, now_us: Callable[[], int], entropy: Entropy, redactor: Redactor) -> None:
        self._now_us = now_us
        self._entropy = entropy
        self._redactor = redactor
        self._open: dict[str, OpenTask] = {}

    def check_room(self, principal: str) -> None:
        """Raises `UpstreamError` where an agent may begin no further task; nothing was sent."""
        self._expire()
        own = sum(task.principal == principal for task in self._open.values())
        if own >= MAX_TASKS_PER_PRINCIPAL or len(self._open) >= MAX_TASKS:
            raise UpstreamError("too many tasks are open: cancel some first", code="rate_limited", sent=False)

    def add(self, principal: str, server_id: str, ask: Ask, told: Task, intent_id: int) -> OpenTask:
        """Keep a task that a call became.

        Raises:
            UpstreamError: the server gave it the id of another one.
        """
        if any(task.server_id == server_id and task.told.id == told.id for task in self._open.values()):
            raise UpstreamError("the server gave the task the id of another one that is open")
        task = OpenTask(f"{server_id}.{self._entropy.token()}", principal, server_id, ask, intent_id)
        task.told = told
        lives_ms = MAX_TTL_MS if told.ttl_ms is None else min(told.ttl_ms, MAX_TTL_MS)
        task.ends_us = self._now_us() + lives_ms * _US_PER_MS
        self._open[task.id] = task
        return task

    def find(self, task_id: object, principal: str, server_id: str) -> OpenTask:
        """An agent's own task.

        Raises:
            UpstreamError: there is none of that id, it has ended, or is another agent's (`upstream_refused`, not sent).
        """
        self._expire()
        task = self._open.get(task_id) if isinstance(task_id, str) else None
        if task is None or task.principal != principal or task.server_id != server_id:
            message = "there is no such task of this agent, or not any more"
            raise UpstreamError(message, code="upstream_refused", sent=False)
        return task

    async def look(self, task: OpenTask, session: Session, exchange: Exchange, timeout_ms: int) -> JsonObject:
        """Ask the server how a task stands; gives it as it is shown, with what the status brings.

        Raises:
            UpstreamError: as `Session.advance`, or the server tells of another task.
        """
        shown = await self._looked(task, session, exchange, timeout_ms)
        return shown_of(task, "cancelled", {}) if task.is_cancelled else shown

    async def _looked(self, task: OpenTask, session: Session, exchange: Exchange, timeout_ms: int) -> JsonObject:
        if task.is_cancelled:
            return {}
        waiting = self._waiting(task, session)
        if waiting is not None:
            return self._asking(task, _questions_of(waiting))
        asked: JsonObject = {"taskId": task.told.id}
        found = _read(await session.request("tasks/get", asked, timeout_ms=timeout_ms, exchange=exchange, tasks=True))
        if found.id != task.told.id:
            raise UpstreamError("the server told of another task than was asked for")
        task.told = found
        if not is_stateless(session.revision) and found.status in {"completed", "failed", "input_required"}:
            return await self._result(task, session, exchange, timeout_ms)
        if found.status == "input_required":
            return self._asking(task, found.payload)
        self._asks_nothing(task)
        return shown_of(task, found.status, of_task(found.payload, task.id))

    async def answer(
        self, task: OpenTask, session: Session, responses: JsonObject, exchange: Exchange, timeout_ms: int
    ) -> None:
        """Give the server the answers to what it asks. Raises as `look`."""
        waiting = self._waiting(task, session)
        self._asks_nothing(task)
        if waiting is not None:
            waiting.join(exchange)
            task.running = None
            try:
                await session.reply(waiting, responses)
            finally:
                await session.abandon(waiting)  # the result is asked for again, by whoever looks
        else:
            asked: JsonObject = {"taskId": task.told.id, "inputResponses": responses}
            await session.request("tasks/update", asked, timeout_ms=timeout_ms, exchange=exchange, tasks=True)

    async def cancel(self, task: OpenTask, session: Session, exchange: Exchange, timeout_ms: int) -> JsonObject:
        """Have the server stop. From the request on there is no result. Raises as `look`; refused, it goes on."""
        asked: JsonObject = {"taskId": task.told.id}
        task.is_cancelled = True
        try:
            await session.request("tasks/cancel", asked, timeout_ms=timeout_ms, exchange=exchange, tasks=True)
        except ServerRpcError:
            task.is_cancelled = False
            raise
        waiting, task.running = self._waiting(task, session), None
        if waiting is not None:
            await session.abandon(waiting)
        self._asks_nothing(task)
        return shown_of(task, "cancelled", {})

    async def _result(self, task: OpenTask, session: Session, exchange: Exchange, timeout_ms: int) -> JsonObject:
        """Ask a server of 2025-11-25 for the result, beside which it asks what it wants to know."""
        asked: JsonObject = {"taskId": task.told.id}
        running = await session.start(
            "tasks/result", asked, timeout_ms=timeout_ms, exchange=exchange, task_id=task.told.id
        )
        try:
            result = await session.advance(running, timeout_ms)
        except ServerRpcError as error:
            self._asks_nothing(task)
            return shown_of(task, "failed", {"code": error.rpc_code, "message": error.rpc_message})
        if result is not None:
            self._asks_nothing(task)
            return shown_of(task, "completed", of_task(result, task.id))
        others = [kept for kept in self._open.values() if kept.running is not None and kept.session is session]
        if len(others) >= MAX_SUSPENDED_PER_SERVER:
            await session.abandon(running)
            raise UpstreamError("too many tasks of this server wait for input")
        task.running, task.session = running, session
        return self._asking(task, _questions_of(running))

    def _waiting(self, task: OpenTask, session: Session) -> Running | None:
        """The request beside which the server asked, where the session in which it did is still there."""
        running = task.running
        if running is None or task.session is not session or not running.questions:
            task.running = None
            return None
        return running

    def _asking(self, task: OpenTask, questions: JsonObject) -> JsonObject:
        """Note what is asked: a question that was not there before is a round of its own."""
        questions = _with_own_id(task, questions)
        try:
            asked = canonical_bytes(questions)
        except CallerError as error:
            raise UpstreamError(f"what the server asks is no exact JSON: {error}") from None
        digest = hashlib.sha256(asked).digest()
        if not task.nonce or digest != task.asked_digest or not self.is_asked(task):
            question = self._redactor.redact(asked)
            task.nonce, task.asked_us, task.asked_digest = self._entropy.token(), self._now_us(), digest
            task.question = question.decode() if len(question) <= MAX_QUESTION_BYTES else ""
        return shown_of(task, "input_required", questions)

    def is_asked(self, task: OpenTask) -> bool:
        """Whether a task's server asks something that may be answered: a nonce is taken within its time."""
        return bool(task.nonce) and self._now_us() < task.asked_us + STATE_TTL_US

    def _asks_nothing(self, task: OpenTask) -> None:
        task.nonce, task.question, task.asked_digest = "", "", b""

    def _expire(self) -> None:
        now_us = self._now_us()
        for task_id in [task_id for task_id, task in self._open.items() if task.ends_us <= now_us]:
            del self._open[task_id]


def shown_of(task: OpenTask, status: Status, payload: JsonObject) -> JsonObject:
    """A task as its agent is shown it: under our id."""
    return shown_task(msgspec.structs.replace(task.told, id=task.id, status=status, payload=payload))


def _questions_of(running: Running) -> JsonObject:
    return {key: {"method": asked.method, "params": asked.params} for key, asked in running.questions.items()}


def _with_own_id(task: OpenTask, questions: JsonObject) -> JsonObject:
    own: JsonObject = {}
    for key, question in questions.items():
        asked = as_object(question)
        own[key] = {**asked, "params": of_task(as_object(asked.get("params")), task.id)}
    return own


def _read(told: JsonObject) -> Task:
    try:
        return read_task(told)
    except ValueError as error:
        raise UpstreamError(f"the server tells of no task: {error}") from None
