"""The operator's own command that makes a policy of a prompt: whatever it is, its answer is only ever proposed.

`[policy] prompt_command` names the program and its arguments. It gets one JSON object on standard input,
`{"prompt", "policy_text"}`, and answers the whole text that it would have in place of the policy's, then exits with 0.
It runs confined as a server of ours does (`children.confinement`), without the data directory and the sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from briefcase.adapters.children.confinement import Confinement
from briefcase.adapters.children.once import ask_once, inherited
from briefcase.model.errors import UpstreamError

TIMEOUT_S: Final = 60.0
MAX_ANSWER_BYTES: Final = 1 << 20


class PromptCommand:
    """Runs the command.

    Args:
        command: the program, and its arguments.
        confinement: what it is kept from.
        environ: the daemon's environment, for the inherited variables.
        timeout_s: how long one prompt may take.
    """

    def __init__(
        self,
        command: Sequence[str],
        confinement: Confinement,
        environ: Mapping[str, str],
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._command = tuple(command)
        self._confinement = confinement
        self._env = inherited(environ)
        self._timeout_s = timeout_s

    async def policy_of(self, prompt: str, policy_text: str) -> str:
        """The whole text that it would have in place of the policy's.

        Raises:
            UpstreamError: it was not started, exited with another code, took too long, or answered too much or no text.
        """
        question = msgspec.json.encode({"prompt": prompt, "policy_text": policy_text})
        try:
            command = await asyncio.to_thread(self._confinement.command, self._command, "", self._env)
            answer = await ask_once(command, self._env, question, self._timeout_s, MAX_ANSWER_BYTES)
        except UpstreamError as error:
            raise _failed(error.message, error.detail) from None
        try:
            return answer.decode()
        except UnicodeDecodeError as error:
            raise _failed("it answered no UTF-8", repr(error)) from None


def _failed(problem: str, detail: str = "") -> UpstreamError:
    return UpstreamError(f"the prompt command failed: {problem}", code="upstream_failed", detail=detail)
