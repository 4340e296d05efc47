"""The policy engine: compiled Cedar policy sets and their answers."""

from typing import Any

from .entities import Entities
from .values import EntityUid, Record

class Answer:
    """Cedar's answer to one request. Ids are sorted.

    `allowed` is the decision; `determining` the ids of the policies it rests on (satisfied forbids, else satisfied
    permits); `erroring` the ids of the policies that erred and `problems` what was wrong with each, in the same order;
    `forbid_erred` whether one of those forbids.
    """

    allowed: bool
    determining: tuple[str, ...]
    erroring: tuple[str, ...]
    problems: tuple[str, ...]
    forbid_erred: bool

class PolicySet:
    """A compiled policy set. Immutable; safe to use from any thread."""

    ids: frozenset[str]
    def __len__(self) -> int: ...
    def authorize(
        self,
        principal: EntityUid,
        action: EntityUid,
        resource: EntityUid,
        entities: Entities,
        context: Record | dict[str, Any],
    ) -> Answer:
        """Answer one request, exactly as Cedar does.

        Args:
            principal: who asks.
            action: what for.
            resource: on what.
            entities: everything known of entities, actions included; an absent one has no attributes and no ancestors,
                and reading its attributes is an error.
            context: a record, or a plain mapping (see `Record`).

        Returns:
            Decision, determining and erroring policies.
        """

    def specialise(
        self, action: EntityUid, resource: EntityUid, entities: Entities, instead: dict[str, Any] | None = None
    ) -> SpecialisedPolicies:
        """Do ahead what one action and one resource decide.

        Args:
            action: the action of every later decision.
            resource: the resource of every later decision.
            entities: everything known, except the principals that will be decided on. Where one of those stands above
                another entity, that entity must name the ancestors beyond it itself.
            instead: policies by id, in Cedar's JSON policy format, whose conditions take the place of those compiled.
                `{"Fault": text}` is an expression there that errs.

        Returns:
            The same policies, with only principal and context open.
        """

class SpecialisedPolicies:
    """A policy set for one action on one resource. Immutable; safe to use from any thread."""

    def decide(self, principal: EntityUid, ancestors: frozenset[EntityUid], context: Record | dict[str, Any]) -> Answer:
        """Answer for one principal and context.

        Args:
            principal: who asks; not one of the entities given to `specialise`.
            ancestors: every group it is in, transitively. It has no attributes and no tags.
            context: a record, or a plain mapping (see `Record`).

        Returns:
            What `PolicySet.authorize` answers when the principal is an entity with those ancestors.
        """

def compile_policies(policies: dict[str, Any]) -> PolicySet:
    """Compile a policy set.

    Args:
        policies: Cedar's JSON policy set format: `staticPolicies`, `templates`, `templateLinks`; what
            `json.loads(cedarpy.policies_to_json_str(text))` gives. Links may be added to `templateLinks` as
            `{"templateId": …, "newId": …, "values": {"?principal": {"type": …, "id": …}}}`.

    Returns:
        The compiled set.

    Raises:
        ValueError: nested more than 256 deep, a repeated id, a link of an unknown template, an unknown operation.
    """
