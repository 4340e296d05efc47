"""The policy: what decides now, what decided before, and another one compared before it is set.

A text with characters that the page shows marked (`<U+0430>`) stands in no form: another policy would come back.
"""

from __future__ import annotations

import difflib
from typing import Final

from briefcase.core.characters.marks import visible_text
from briefcase.core.wire.policy import PolicyHistoryList, PolicyRecord
from briefcase.edges.api.in_process import path_of
from briefcase.edges.page.asking import Asked, Moved, Shown, View
from briefcase.model.errors import CallerError

HOME: Final = "/policy"
MAX_FORM_BYTES: Final = 512 << 10
MAX_LINES: Final = 2_000  # what is compared: longer texts take too long
CONTEXT_LINES: Final = 3


async def show_policy(asked: Asked) -> Shown:
    """`GET /policy`."""
    policy = await asked.get("/v1/policy", PolicyRecord)
    history = (await asked.get("/v1/policy/history", PolicyHistoryList)).policies
    values = {"policy": policy, "history": history, "comes_back": _comes_back(policy.policy_text)}
    return Shown("policy", "Policy", values)


async def show_kept(asked: Asked) -> Shown:
    """`GET /policy/history/{digest}`: one that decided before, and what setting it again would change."""
    kept = await asked.get(path_of("v1", "policy", "history", asked.params["digest"]), PolicyRecord)
    return await _compared(asked, kept.policy_text, f"Policy {kept.policy_hash_hex[:8]}")


async def compare_policy(asked: Asked) -> Shown:
    """`POST /policy/compare`: what another text would change; nothing is set."""
    return await _compared(asked, asked.form.get("policy_text", "").replace("\r\n", "\n"), "Compare")


async def set_policy(asked: Asked) -> Moved:
    """`POST /policy/set`: in place of the one that was compared with."""
    now = await asked.get("/v1/policy", PolicyRecord)
    if now.policy_hash_hex != asked.form.get("was", ""):
        raise CallerError("the policy was changed meanwhile", code="conflict", hint="compare it again")
    text = asked.form.get("policy_text", "").replace("\r\n", "\n")
    await asked.put("/v1/policy", PolicyRecord, policy_text=text)
    return Moved(HOME)


async def _compared(asked: Asked, text: str, title: str) -> Shown:
    now = await asked.get("/v1/policy", PolicyRecord)
    before, after = now.policy_text.splitlines(), text.splitlines()
    if max(len(before), len(after)) > MAX_LINES:
        raise CallerError(f"expected at most {MAX_LINES:,} lines to compare", hint="use `briefcase policy diff FILE`")
    lines = list(difflib.unified_diff(before, after, "now", "then", n=CONTEXT_LINES, lineterm=""))[2:]
    values = {"lines": lines, "text": text, "was": now.policy_hash_hex, "comes_back": _comes_back(text)}
    return Shown("compare", title, values)


def _comes_back(text: str) -> bool:
    """Whether a form gives a text back as it is: a line's end aside, nothing in it is shown otherwise."""
    return all(visible_text(line) == line for line in text.split("\n"))


VIEWS: Final = (
    View("GET", HOME, show_policy),
    View("GET", "/policy/history/{digest}", show_kept),
    View("POST", "/policy/compare", compare_policy, MAX_FORM_BYTES),
    View("POST", "/policy/set", set_policy, MAX_FORM_BYTES),
)
