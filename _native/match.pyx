"""The policy engine: a set of Cedar policies compiled to an index over scopes and programs for conditions.

A request names an action, a resource and a principal. The index is three levels of hash tables in that order, so a
decision looks only at the policies whose scope holds, however many there are; then it runs their conditions.
The answer is Cedar's exactly: a satisfied `forbid` denies, else a satisfied `permit` allows, else the request is denied;
a policy that errs counts as not satisfied and is named. (`policy.decide` is stricter on top of that.)

`PolicySet.specialise` does ahead what does not depend on the principal and the context of a call: it walks the action and
resource levels and evaluates what the conditions say about the resource.

Everything here is immutable once made and may be used from any thread. Not here: parsing, validation, the swap of sets.
"""

cimport cython

from briefcase._native.entities cimport NO_ENTITIES, NOBODY, Entities, Entity, uid_of
from briefcase._native.folding cimport folded
from briefcase._native.programs cimport CONJUNCTION, FAULT, LITERAL, YES, Node, Request, chain, strict, truth, variable
from briefcase._native.syntax cimport compile_expression, scope_entity, text_of, too_deep
from briefcase._native.values cimport EntityUid, Fault, Record, plain_value, shown


@cython.final
cdef class Policy:
    """One compiled policy or link of a template, without its scope: that is its place in the index."""

    cdef str id
    cdef bint forbids
    cdef bint repeated        # stands at more than one place: its scope lists several actions
    cdef Node condition


@cython.final
@cython.freelist(8)
cdef class Answer:
    """Cedar's answer; see `match.pyi`."""

    cdef readonly bint allowed
    cdef readonly tuple determining
    cdef readonly tuple erroring
    cdef readonly tuple problems
    cdef readonly bint forbid_erred

    def __repr__(self):
        return f"Answer(allowed={self.allowed}, determining={self.determining}, erroring={self.erroring})"


cdef enum:
    # Policies compiled before another thread may run: about 2 ms, and more than the interpreter's switch interval, within
    # which a thread that waits for the lock is woken by each release in vain.
    BETWEEN_TURNS = 128


# --- the index --------------------------------------------------------------------------------------------------


@cython.final
cdef class Level:
    """One variable's constraints: what stands behind each that a uid can satisfy."""

    cdef object every         # no constraint
    cdef dict equal           # `== uid`
    cdef dict within          # `in uid`
    cdef dict typed           # `is type`

    def __cinit__(self):
        self.equal, self.within, self.typed = {}, {}, {}

    cdef int reach(self, EntityUid uid, frozenset ancestors, list reached) except -1:
        """Append what stands behind every constraint that the uid with these ancestors satisfies."""
        if self.every is not None:
            reached.append(self.every)
        if self.equal:
            append_found(self.equal, uid, reached)
        if self.typed:
            append_found(self.typed, uid.type, reached)
        if self.within:
            append_found(self.within, uid, reached)
            for ancestor in ancestors:
                append_found(self.within, ancestor, reached)
        return 0

    cdef object behind(self, tuple place, type made):
        """What stands behind one constraint, an (operator, key); `made` is created there where nothing does."""
        op, key = place
        if op == "All":
            if self.every is None:
                self.every = made()
            return self.every
        table = self.equal if op == "==" else self.within if op == "in" else self.typed
        if key not in table:
            table[key] = made()
        return table[key]


cdef int append_found(dict table, object key, list reached) except -1:
    found = table.get(key)
    if found is not None:
        reached.append(found)
    return 0


# --- deciding ---------------------------------------------------------------------------------------------------


@cython.final
@cython.freelist(8)
cdef class Tally:
    """The outcome of each policy that was looked at; a list is made when its first entry comes."""

    cdef list permits
    cdef list forbids
    cdef list faults          # (policy id, problem)
    cdef bint forbid_erred

    cdef int count(self, Policy policy, Request request) except -1:
        """Run one policy's condition and note what came of it."""
        cdef int outcome = truth(policy.condition, request)
        if outcome == YES:
            if policy.forbids:
                self.forbids = noted(self.forbids, policy.id)
            else:
                self.permits = noted(self.permits, policy.id)
        elif outcome == FAULT:
            self.faults = noted(self.faults, (policy.id, (<Fault>request.fault).problem))
            self.forbid_erred = self.forbid_erred or policy.forbids
        return 0

    cdef int add(self, Tally other) except -1:
        """Take over what another one noted."""
        if other.permits is not None:
            self.permits = other.permits + self.permits if self.permits is not None else other.permits[:]
        if other.forbids is not None:
            self.forbids = other.forbids + self.forbids if self.forbids is not None else other.forbids[:]
        if other.faults is not None:
            self.faults = other.faults + self.faults if self.faults is not None else other.faults[:]
            self.forbid_erred = self.forbid_erred or other.forbid_erred
        return 0

    cdef Answer answer(self):
        """Cedar's answer; nothing may be noted afterwards."""
        cdef Answer answer = Answer.__new__(Answer)
        answer.allowed = self.forbids is None and self.permits is not None
        answer.determining = in_order(self.permits if self.forbids is None else self.forbids)
        answer.erroring = answer.problems = NONE
        if self.faults is not None:
            self.faults.sort()
            answer.erroring = tuple([fault[0] for fault in self.faults])
            answer.problems = tuple([fault[1] for fault in self.faults])
            answer.forbid_erred = self.forbid_erred
        return answer


cdef tuple NONE = ()


cdef list noted(list entries, object entry):
    if entries is None:
        return [entry]
    entries.append(entry)
    return entries


cdef tuple in_order(list ids):
    if ids is None:
        return NONE
    if len(ids) > 1:
        ids.sort()
    return tuple(ids)


cdef Answer NOTHING_APPLIES = Tally().answer()


cdef frozenset ancestors_of(EntityUid uid, Entities entities):
    cdef Entity entity = entities.find(uid)
    return NOBODY if entity is None else entity.ancestors


@cython.final
cdef class PolicySet:
    """A compiled set of policies; see `match.pyi`."""

    cdef Level actions
    cdef readonly frozenset ids

    def __cinit__(self):
        self.actions, self.ids = Level(), NOBODY

    def __len__(self):
        return len(self.ids)

    def authorize(
        self,
        EntityUid principal not None,
        EntityUid action not None,
        EntityUid resource not None,
        Entities entities not None,
        context not None,
    ):
        """Answer one request; see `match.pyi`."""
        cdef Tally tally = Tally()
        cdef Request request = Request.__new__(Request)
        cdef list levels = [], found = []
        cdef set seen = set()
        cdef frozenset ancestors = ancestors_of(principal, entities)
        cdef Policy policy
        request.principal, request.action, request.resource = principal, action, resource
        request.entities = entities
        request.context = plain_value(context)
        self.reach_principals(action, resource, entities, levels)
        for level in levels:
            (<Level>level).reach(principal, ancestors, found)
        for policies in found:
            for each in <list>policies:
                policy = <Policy>each
                if policy.repeated:
                    if policy.id in seen:
                        continue
                    seen.add(policy.id)
                tally.count(policy, request)
        return tally.answer()

    cdef int reach_principals(self, EntityUid action, EntityUid resource, Entities entities, list levels) except -1:
        """Append the principal levels behind one action and resource."""
        cdef list reached = []
        cdef frozenset ancestors = ancestors_of(resource, entities)
        self.actions.reach(action, ancestors_of(action, entities), reached)
        for level in reached:
            (<Level>level).reach(resource, ancestors, levels)
        return 0

    def specialise(
        self, EntityUid action not None, EntityUid resource not None, Entities entities not None, dict instead=None
    ):
        """Do ahead what one action and one resource decide; see `match.pyi`."""
        cdef list levels = []
        cdef Request known = Request.__new__(Request)
        cdef SpecialisedPolicies special = SpecialisedPolicies.__new__(SpecialisedPolicies)
        known.action, known.resource, known.entities = action, resource, entities
        self.reach_principals(action, resource, entities, levels)
        special.action, special.resource, special.entities = action, resource, entities
        special.principals = merged(levels, known, conditions_of(instead))
        return special


# --- specialising -----------------------------------------------------------------------------------------------


@cython.final
cdef class Bucket:
    """The policies behind one principal constraint: outcomes that are known, and programs that must run."""

    cdef Tally known
    cdef tuple open
    cdef Answer alone         # the whole answer where nothing is open and no other bucket applies


@cython.final
cdef class SpecialisedPolicies:
    """A policy set for one action on one resource; see `match.pyi`."""

    cdef Level principals     # of `Bucket`
    cdef EntityUid action
    cdef EntityUid resource
    cdef Entities entities

    def __cinit__(self):
        self.principals, self.entities = Level(), NO_ENTITIES

    def decide(self, EntityUid principal not None, frozenset ancestors not None, context not None):
        """Answer for one principal and context; see `match.pyi`."""
        cdef list reached = []
        cdef Bucket bucket
        self.principals.reach(principal, ancestors, reached)
        if not reached:
            return NOTHING_APPLIES
        if len(reached) == 1:
            bucket = <Bucket>reached[0]
            if bucket.alone is not None:
                return bucket.alone
        return self.tallied(reached, principal, ancestors, context)

    cdef Answer tallied(self, list buckets, EntityUid principal, frozenset ancestors, object context):
        cdef Tally tally = Tally()
        cdef Bucket bucket
        cdef Request request = Request.__new__(Request)
        request.principal, request.action, request.resource = principal, self.action, self.resource
        request.principal_ancestors = ancestors
        request.entities = self.entities
        request.context = plain_value(context)
        for each in buckets:
            bucket = <Bucket>each
            tally.add(bucket.known)
            for policy in bucket.open:
                tally.count(<Policy>policy, request)
        return tally.answer()


cdef dict conditions_of(dict policies):
    """The compiled conditions of policies by id."""
    cdef Compiler compiler
    if not policies:
        return NO_CONDITIONS
    compiler = new_compiler()
    return {policy_id: compiler.condition_of(source) for policy_id, source in policies.items()}


cdef Level merged(list levels, Request known, dict instead):
    """One level of buckets from the principal levels that an action and a resource reach."""
    cdef Level result = Level()
    cdef Level level
    cdef set seen = set()
    cdef dict folds = {}
    for each in levels:
        level = <Level>each
        if level.every is not None:
            gather(<list>result.behind(("All", None), list), level.every, seen)
        for op, table in (("==", level.equal), ("in", level.within), ("is", level.typed)):
            for key, policies in table.items():
                gather(<list>result.behind((op, key), list), policies, seen)
    if result.every is not None:
        result.every = bucket_of(result.every, known, folds, instead)
    for table in (result.equal, result.within, result.typed):
        for key, policies in table.items():
            table[key] = bucket_of(policies, known, folds, instead)
    return result


cdef int gather(list into, list policies, set seen) except -1:
    for policy in policies:
        if (<Policy>policy).id not in seen:
            seen.add((<Policy>policy).id)
            into.append(policy)
    return 0


cdef Bucket bucket_of(list policies, Request known, dict folds, dict instead):
    cdef Bucket bucket = Bucket.__new__(Bucket)
    cdef Policy policy, special
    cdef list open_policies = []
    bucket.known = Tally()
    for each in policies:
        policy = <Policy>each
        special = Policy.__new__(Policy)
        special.id, special.forbids = policy.id, policy.forbids
        special.condition = folded_once(<Node>instead.get(policy.id, policy.condition), known, folds)
        if special.condition.kind == LITERAL:
            bucket.known.count(special, known)
        else:
            open_policies.append(special)
    bucket.open = tuple(open_policies)
    if not open_policies:
        bucket.alone = bucket.known.answer()
    return bucket


cdef Node folded_once(Node node, Request known, dict folds):
    """Policies that share a condition share what becomes of it."""
    result = folds.get(id(node))
    if result is None:
        result = folds[id(node)] = folded(node, known)
    return <Node>result


# --- compiling --------------------------------------------------------------------------------------------------


cdef dict NO_CONDITIONS = {}
cdef dict EFFECTS = {"permit": False, "forbid": True}


@cython.final
cdef class Compiler:
    """What is shared while one set is compiled."""

    cdef Level actions
    cdef dict conditions      # by their text: equal conditions become one program
    cdef Request nothing_known
    cdef set ids

    cdef int add_all(self, dict policies) except -1:
        """Every static policy and every link of a template; templates by themselves authorize nothing."""
        templates = policies.get("templates", {})
        for policy_id, source in policies.get("staticPolicies", {}).items():
            self.add(text_of(policy_id), source, {})
            if len(self.ids) % BETWEEN_TURNS == 0:
                with nogil:
                    pass  # whoever waits for the interpreter's lock takes it here; native code gives it up nowhere else
        for link in policies.get("templateLinks", []):
            if link["templateId"] not in templates:
                raise ValueError(f"expected the link `{link['newId']}` of a known template, got `{link['templateId']}`")
            slots = {slot: uid_of(value) for slot, value in link["values"].items()}
            self.add(text_of(link["newId"]), templates[link["templateId"]], slots)
        return 0

    cdef int add(self, str policy_id, object source, dict slots) except -1:
        cdef Policy policy = Policy.__new__(Policy)
        if policy_id in self.ids:
            raise ValueError(f"expected each policy id once, got `{policy_id}` again")
        self.ids.add(policy_id)
        policy.id = policy_id
        try:
            policy.forbids = EFFECTS[source["effect"]]
            policy.condition = self.condition_of(source)
            self.place(policy, source, slots)
        except ValueError as error:
            raise ValueError(f"policy `{policy_id}`: {error}") from error
        except RecursionError as error:
            raise ValueError(f"policy `{policy_id}`: {too_deep()}") from error
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"policy `{policy_id}`: expected Cedar's JSON policy format, got {shown(error)}") from error
        return 0

    cdef int place(self, Policy policy, dict source, dict slots) except -1:
        """Put the policy where its scope belongs."""
        cdef Level level
        places = action_places(source["action"])
        policy.repeated = len(places) > 1
        for place in places:
            level = <Level>self.actions.behind(place, Level)
            level = <Level>level.behind(place_of(source["resource"], slots), Level)
            (<list>level.behind(place_of(source["principal"], slots), list)).append(policy)
        return 0

    cdef Node condition_of(self, dict source):
        """Everything of a policy that the index does not decide, as one program."""
        cdef list parts = []
        text = repr((narrowing(source["principal"]), narrowing(source["resource"]), source["conditions"]))
        if text in self.conditions:
            return <Node>self.conditions[text]
        for name in ("principal", "resource"):
            narrowed = narrowing(source[name])
            if narrowed is not None:
                parts.append(strict("is", variable(name), None, narrowed))
        for clause in source["conditions"]:
            node = compile_expression(clause["body"], 0)
            if clause["kind"] == "unless":
                node = strict("!", node, None, None)
            elif clause["kind"] != "when":
                raise ValueError(f"expected `when` or `unless`, got `{shown(clause['kind'])}`")
            parts.append(node)
        node = folded(chain(CONJUNCTION, parts), self.nothing_known)
        self.conditions[text] = node
        return <Node>node


cdef Compiler new_compiler():
    cdef Compiler compiler = Compiler.__new__(Compiler)
    compiler.actions = Level()
    compiler.conditions = {}
    compiler.ids = set()
    compiler.nothing_known = Request.__new__(Request)
    compiler.nothing_known.entities = NO_ENTITIES
    return compiler


cdef object narrowing(dict constraint):
    """The type of `is T in x`: the index finds `in x`, the condition then looks at the type."""
    if constraint["op"] != "is" or constraint.get("in") is None:
        return None
    return text_of(constraint["entity_type"])


cdef tuple place_of(dict constraint, dict slots):
    """The place of a principal or resource constraint: (operator, key)."""
    op = constraint["op"]
    if op == "All":
        return "All", None
    if op == "==" or op == "in":
        return op, scope_entity(constraint, slots)
    if op != "is":
        raise ValueError(f"expected a scope of `==`, `in` or `is`, got `{op}`")
    if constraint.get("in") is not None:
        return "in", scope_entity(constraint["in"], slots)
    return "is", text_of(constraint["entity_type"])


cdef list action_places(dict constraint):
    """The places of an action constraint; a list of actions has several."""
    if constraint["op"] == "in" and "entities" in constraint:
        return [("in", key) for key in dict.fromkeys([uid_of(json) for json in constraint["entities"]])]
    return [place_of(constraint, {})]


def compile_policies(dict policies not None):
    """Compile a policy set in Cedar's JSON format; see `match.pyi`."""
    cdef Compiler compiler = new_compiler()
    cdef PolicySet made = PolicySet.__new__(PolicySet)
    try:
        compiler.add_all(policies)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"expected Cedar's JSON policy set format, got {shown(error)}") from error
    made.actions = compiler.actions
    made.ids = frozenset(compiler.ids)
    return made
