"""Cedar's own answer beside ours: the comparison that the corpus, the properties and the fuzzer share."""

import json
import re
from typing import Any

import cedarpy
from cedar_cases import Case

from briefcase._native.entities import compile_entities, value_of
from briefcase._native.match import Answer, PolicySet, compile_policies
from briefcase._native.values import EntityUid

Outcome = tuple[bool, tuple[str, ...], tuple[str, ...]]

ERRING = re.compile(r"error while evaluating policy `(.*?)`: ", re.DOTALL)


def uid_of(json_uid: dict[str, str]) -> EntityUid:
    return EntityUid(json_uid["type"], json_uid["id"])


def outcome_of(answer: Answer) -> Outcome:
    return answer.allowed, answer.determining, answer.erroring


def erring_ids(errors: list[str]) -> list[str]:
    """The policy ids in cedarpy's messages."""
    found = [ERRING.match(error) for error in errors]
    assert all(found), errors
    return sorted(match.group(1) for match in found if match)


class Compared:
    """One case, compiled on both sides."""

    def __init__(self, case: Case) -> None:
        self.case = case
        handle = cedarpy.PolicySet.from_str(case.text)
        self.handle = handle.with_linked_batch(
            [{"template_id": x["templateId"], "new_id": x["newId"], "values": x["values"]} for x in case.links]
        )
        self.entities = cedarpy.Entities.from_json_str(json.dumps(case.entities))
        source = json.loads(cedarpy.policies_to_json_str(case.text))
        source["templateLinks"] = list(case.links)
        self.ours: PolicySet = compile_policies(source)
        self.our_entities = compile_entities(case.entities)

    def cedar(self, request: dict[str, Any], entities: cedarpy.Entities | None = None) -> Outcome:
        result = cedarpy.is_authorized(request, self.handle, entities or self.entities)
        assert result.decision is not cedarpy.Decision.NoDecision, result.diagnostics.errors
        diagnostics = result.diagnostics
        return result.allowed, tuple(sorted(diagnostics.reasons)), tuple(erring_ids(diagnostics.errors))

    def authorized(self, request: dict[str, Any]) -> Outcome:
        """Our answer by way of the whole set."""
        names = [uid_of(request[name]) for name in ("principal", "action", "resource")]
        return outcome_of(self.ours.authorize(*names, self.our_entities, value_of(request["context"])))

    def specialised(self, request: dict[str, Any]) -> tuple[Outcome, Outcome]:
        """Cedar's answer and ours by way of a specialised set, the principal being an entity of ancestors alone."""
        principal, action, resource = (uid_of(request[name]) for name in ("principal", "action", "resource"))
        others = [entity | {"parents": self.above(entity["uid"])} for entity in self.case.entities]
        others = [entity for entity in others if entity["uid"] != request["principal"]]
        agent = {"uid": request["principal"], "parents": self.above(request["principal"]), "attrs": {}}
        everyone = cedarpy.Entities.from_json_str(json.dumps([*others, agent]))
        special = self.ours.specialise(action, resource, compile_entities(others))
        ours = special.decide(principal, self.our_entities.ancestors(principal), value_of(request["context"]))
        return self.cedar(request, everyone), outcome_of(ours)

    def above(self, uid: dict[str, str]) -> list[dict[str, str]]:
        """Every ancestor, so that none is lost when the entity between them is taken out."""
        return [{"type": each.type, "id": each.id} for each in self.our_entities.ancestors(uid_of(uid))]


def check_case(case: Case) -> None:
    """Compare every request of a case, both ways."""
    compared = Compared(case)
    for request in case.requests:
        expected = compared.cedar(request)
        got = compared.authorized(request)
        assert got == expected, f"expected {expected}, got {got} for {request} on {case}"
        if request["principal"] != request["resource"]:
            expected, got = compared.specialised(request)
            assert got == expected, f"specialised: expected {expected}, got {got} for {request} on {case}"


def judged(expression: str) -> tuple[str, str]:
    """What an expression without variables comes to, for Cedar and for us: `true`, `false` or `error`."""
    text = f"permit(principal, action, resource) when {{ {expression} }};"
    request = dict.fromkeys(("principal", "action", "resource"), 'A::"x"') | {"context": {}}
    result = cedarpy.is_authorized(request, text, "[]")
    someone = EntityUid("A", "x")
    policies = compile_policies(json.loads(cedarpy.policies_to_json_str(text)))
    answer = policies.authorize(someone, someone, someone, compile_entities([]), {})
    return (
        "error" if result.diagnostics.errors else str(result.allowed).lower(),
        "error" if answer.erroring else str(answer.allowed).lower(),
    )
