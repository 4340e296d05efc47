"""Programs: compiled Cedar expressions, and how they are evaluated.

A program is a tree of `Node`s. Each holds a pointer to the C function that evaluates it; there is no dispatch on names
and no exception on the way: an error of the language is a `Fault` value that travels up, exactly as far as Cedar's
short-circuit rules let it.

Depth is bounded where programs are compiled (`syntax.MAX_DEPTH`), so the recursion here is too.
"""

cimport cython
from cpython.long cimport PyLong_AsLongLong
from cpython.unicode cimport PyUnicode_Find, PyUnicode_GET_LENGTH, PyUnicode_Tailmatch

from briefcase._native.entities cimport EMPTY, NOBODY, Entities, Entity
from briefcase._native.extensions cimport ExtensionFunction, moment_order
from briefcase._native.values cimport (
    EntityUid, Fault, Record, SetValue, is_long, key_of, make_set, same, same_uid, settled, wrong_type,
)


@cython.final
@cython.freelist(8)
cdef class Request:
    """What a program is evaluated for."""

    cdef Entity find(self, EntityUid uid):
        """The entity of that uid, or None."""
        cdef Entity entity
        if self.principal_ancestors is not None and same_uid(uid, self.principal):
            entity = Entity.__new__(Entity)
            entity.uid = uid
            entity.ancestors = self.principal_ancestors
            entity.attrs = EMPTY
            entity.tags = {}
            return entity
        entity = self.entities.find(uid)
        if entity is None:
            self.undetermined = True
        return entity


cdef inline object run(Node node, Request request):
    return node.operation(node, request)


cdef int truth(Node node, Request request) except -1:
    """YES or NO; FAULT with `request.fault` set where the node fails or is no bool."""
    value = node.operation(node, request)
    if value is True:
        return YES
    if value is False:
        return NO
    request.fault = value if type(value) is Fault else wrong_type("bool", value)
    return FAULT


# --- variables, literals, control -------------------------------------------------------------------------------


cdef object run_literal(Node node, Request request):
    return node.operand


cdef object run_principal(Node node, Request request):
    return request.principal


cdef object run_action(Node node, Request request):
    return request.action


cdef object run_resource(Node node, Request request):
    return request.resource


cdef object run_context(Node node, Request request):
    return request.context


cdef object run_and(Node node, Request request):
    cdef int outcome
    for part in node.parts:
        outcome = truth(<Node>part, request)
        if outcome == NO:
            return False
        if outcome == FAULT:
            return request.fault
    return True


cdef object run_or(Node node, Request request):
    cdef int outcome
    for part in node.parts:
        outcome = truth(<Node>part, request)
        if outcome == YES:
            return True
        if outcome == FAULT:
            return request.fault
    return False


cdef object run_if(Node node, Request request):
    cdef int outcome = truth(node.first, request)
    if outcome == FAULT:
        return request.fault
    return run(node.second if outcome == YES else node.third, request)


cdef object run_not(Node node, Request request):
    cdef int outcome = truth(node.first, request)
    return request.fault if outcome == FAULT else outcome == NO


# --- comparison and arithmetic ----------------------------------------------------------------------------------


cdef object run_eq(Node node, Request request):
    left = settled(run(node.first, request))
    if type(left) is Fault:
        return left
    right = settled(run(node.second, request))
    if type(right) is Fault:
        return right
    return same(left, right)


cdef object run_not_eq(Node node, Request request):
    outcome = run_eq(node, request)
    return outcome if type(outcome) is Fault else outcome is False


cdef enum:
    UNORDERED = 2


cdef int ordering(Node node, Request request) except -2:
    """-1, 0 or 1 as the left operand is less, equal or greater; UNORDERED with `request.fault` set."""
    cdef long long less, greater
    left = run(node.first, request)
    if type(left) is Fault:
        request.fault = left
        return UNORDERED
    right = run(node.second, request)
    if type(right) is Fault:
        request.fault = right
        return UNORDERED
    if type(left) is int and type(right) is int:
        less = PyLong_AsLongLong(left)
        greater = PyLong_AsLongLong(right)
        return (less > greater) - (less < greater)
    order = moment_order(left, right)
    if order is not None:
        return order
    request.fault = wrong_type("two longs, datetimes or durations", right if type(left) is int else left)
    return UNORDERED


cdef object run_less(Node node, Request request):
    cdef int order = ordering(node, request)
    return request.fault if order == UNORDERED else order < 0


cdef object run_less_eq(Node node, Request request):
    cdef int order = ordering(node, request)
    return request.fault if order == UNORDERED else order <= 0


cdef object run_greater(Node node, Request request):
    cdef int order = ordering(node, request)
    return request.fault if order == UNORDERED else order > 0


cdef object run_greater_eq(Node node, Request request):
    cdef int order = ordering(node, request)
    return request.fault if order == UNORDERED else order >= 0


cdef object long_operand(Node node, Request request):
    value = run(node, request)
    return value if type(value) is int or type(value) is Fault else wrong_type("long", value)


cdef object bounded(object number, str doing):
    return number if is_long(number) else Fault(f"integer overflow while {doing}")


cdef object run_add(Node node, Request request):
    left = long_operand(node.first, request)
    if type(left) is Fault:
        return left
    right = long_operand(node.second, request)
    return right if type(right) is Fault else bounded(left + right, "adding")


cdef object run_sub(Node node, Request request):
    left = long_operand(node.first, request)
    if type(left) is Fault:
        return left
    right = long_operand(node.second, request)
    return right if type(right) is Fault else bounded(left - right, "subtracting")


cdef object run_mul(Node node, Request request):
    left = long_operand(node.first, request)
    if type(left) is Fault:
        return left
    right = long_operand(node.second, request)
    return right if type(right) is Fault else bounded(left * right, "multiplying")


cdef object run_neg(Node node, Request request):
    value = long_operand(node.first, request)
    return value if type(value) is Fault else bounded(-value, "negating")


# --- strings ----------------------------------------------------------------------------------------------------


cdef object run_like(Node node, Request request):
    text = run(node.first, request)
    if type(text) is not str:
        return text if type(text) is Fault else wrong_type("string", text)
    return matches(<tuple>node.operand, <str>text)


cdef bint matches(tuple pieces, str text) except -1:
    """Whether the text is the pieces in order with anything between them.

    The first piece must begin the text and the last must end it; each other is taken where it is found first, which
    leaves the most text for the rest. So the text is walked once, whatever the pattern.
    """
    cdef Py_ssize_t start, stop, found, index, count = len(pieces)
    cdef Py_ssize_t length = PyUnicode_GET_LENGTH(text)
    if count == 1:
        return text == pieces[0]
    start = PyUnicode_GET_LENGTH(pieces[0])
    stop = length - PyUnicode_GET_LENGTH(pieces[count - 1])
    if start > stop or not PyUnicode_Tailmatch(text, pieces[0], 0, length, -1):
        return False
    if not PyUnicode_Tailmatch(text, pieces[count - 1], 0, length, 1):
        return False
    for index in range(1, count - 1):
        found = PyUnicode_Find(text, pieces[index], start, stop, 1)
        if found < 0:
            return False
        start = found + PyUnicode_GET_LENGTH(pieces[index])
    return True


# --- sets and records -------------------------------------------------------------------------------------------


cdef object set_operand(Node node, Request request):
    value = run(node, request)
    return value if type(value) is SetValue or type(value) is Fault else wrong_type("set", value)


cdef object run_contains(Node node, Request request):
    left = set_operand(node.first, request)
    if type(left) is Fault:
        return left
    right = settled(run(node.second, request))
    return right if type(right) is Fault else key_of(right) in (<SetValue>left).keys


cdef object run_contains_all(Node node, Request request):
    left = set_operand(node.first, request)
    if type(left) is Fault:
        return left
    right = set_operand(node.second, request)
    return right if type(right) is Fault else (<SetValue>right).keys.issubset((<SetValue>left).keys)


cdef object run_contains_any(Node node, Request request):
    left = set_operand(node.first, request)
    if type(left) is Fault:
        return left
    right = set_operand(node.second, request)
    return right if type(right) is Fault else not (<SetValue>left).keys.isdisjoint((<SetValue>right).keys)


cdef object run_is_empty(Node node, Request request):
    value = set_operand(node.first, request)
    return value if type(value) is Fault else len((<SetValue>value).keys) == 0


cdef object run_set(Node node, Request request):
    cdef list values = []
    for part in node.parts:
        value = settled(run(<Node>part, request))
        if type(value) is Fault:
            return value
        values.append(value)
    return make_set(values)


cdef object run_record(Node node, Request request):
    cdef dict fields = {}
    cdef Record record
    cdef Py_ssize_t index
    for index in range(len(node.parts)):
        value = settled(run(<Node>node.parts[index], request))
        if type(value) is Fault:
            return value
        fields[(<tuple>node.operand)[index]] = value
    record = Record.__new__(Record)
    record.fields = fields
    return record


cdef object run_get(Node node, Request request):
    base = run(node.first, request)
    if type(base) is Record:
        value = (<Record>base).get(<str>node.operand)
        return value if value is not None else Fault(f"record does not have the attribute `{node.operand}`")
    if type(base) is EntityUid:
        return attribute(<EntityUid>base, <str>node.operand, request)
    return base if type(base) is Fault else wrong_type("record or entity", base)


cdef object attribute(EntityUid uid, str name, Request request):
    cdef Entity entity = request.find(uid)
    if entity is None:
        return Fault(f"entity `{uid}` does not exist")
    value = entity.attrs.get(name)
    return value if value is not None else Fault(f"`{uid}` does not have the attribute `{name}`")


cdef object run_has(Node node, Request request):
    cdef Entity entity
    base = run(node.first, request)
    if type(base) is Record:
        return node.operand in (<Record>base).fields
    if type(base) is EntityUid:
        entity = request.find(<EntityUid>base)
        return entity is not None and node.operand in entity.attrs.fields
    return base if type(base) is Fault else wrong_type("record or entity", base)


# --- entities ---------------------------------------------------------------------------------------------------


cdef object run_is(Node node, Request request):
    value = run(node.first, request)
    if type(value) is not EntityUid:
        return value if type(value) is Fault else wrong_type("entity", value)
    return (<EntityUid>value).type == <str>node.operand


cdef object run_in(Node node, Request request):
    cdef frozenset ancestors
    cdef Entity entity
    left = run(node.first, request)
    if type(left) is Fault:
        return left
    right = run(node.second, request)
    if type(right) is Fault:
        return right
    if type(left) is not EntityUid:
        return wrong_type("entity", left)
    if request.principal_ancestors is not None and same_uid(<EntityUid>left, request.principal):
        ancestors = request.principal_ancestors
    else:
        entity = request.find(<EntityUid>left)
        ancestors = NOBODY if entity is None else entity.ancestors
    if type(right) is EntityUid:
        return same_uid(<EntityUid>left, <EntityUid>right) or right in ancestors
    if type(right) is not SetValue:
        return wrong_type("entity or set of entities", right)
    if not (<SetValue>right).only_entities:
        return Fault("type error: expected a set of entities, got a set with other values")
    return left in (<SetValue>right).keys or not ancestors.isdisjoint((<SetValue>right).keys)


cdef object tag_operands(Node node, Request request):
    """The entity uid and the tag's name, or a `Fault`."""
    uid = run(node.first, request)
    if type(uid) is Fault:
        return uid
    name = run(node.second, request)
    if type(name) is Fault:
        return name
    if type(uid) is not EntityUid:
        return wrong_type("entity", uid)
    return (uid, name) if type(name) is str else wrong_type("string", name)


cdef object run_get_tag(Node node, Request request):
    cdef Entity entity
    operands = tag_operands(node, request)
    if type(operands) is Fault:
        return operands
    uid, name = operands
    entity = request.find(uid)
    if entity is None:
        return Fault(f"entity `{uid}` does not exist")
    value = entity.tags.get(name)
    return value if value is not None else Fault(f"`{uid}` does not have the tag `{name}`")


cdef object run_has_tag(Node node, Request request):
    cdef Entity entity
    operands = tag_operands(node, request)
    if type(operands) is Fault:
        return operands
    entity = request.find((<tuple>operands)[0])
    return entity is not None and (<tuple>operands)[1] in entity.tags


cdef object run_extension(Node node, Request request):
    cdef list arguments = []
    for part in node.parts:
        value = run(<Node>part, request)
        if type(value) is Fault:
            return value
        arguments.append(value)
    return (<ExtensionFunction>node.operand).apply(tuple(arguments))


# --- building ---------------------------------------------------------------------------------------------------


cdef Node node_of(Kind kind, Operation operation, bint gives_bool):
    cdef Node node = Node.__new__(Node)
    node.kind = kind
    node.operation = operation
    node.gives_bool = gives_bool
    return node


cdef Node literal(object value):
    """A constant; a `Fault` is a constant failure."""
    cdef Node node = node_of(LITERAL, run_literal, value is True or value is False)
    node.operand = value
    return node


cdef Node variable(str name):
    """A variable of the request, or None where there is no such variable."""
    if name == "principal":
        return node_of(PRINCIPAL, run_principal, False)
    if name == "action":
        return node_of(ACTION, run_action, False)
    if name == "resource":
        return node_of(RESOURCE, run_resource, False)
    if name == "context":
        return node_of(CONTEXT, run_context, False)
    return None


cdef Node chain(Kind kind, list parts):
    """`a && b && …` or `a || b || …`."""
    cdef Node node = node_of(kind, run_and if kind == CONJUNCTION else run_or, True)
    node.parts = tuple(parts)
    return node


cdef Node choice(Node condition, Node then, Node otherwise):
    """`if … then … else …`."""
    cdef Node node = node_of(CHOICE, run_if, then.gives_bool and otherwise.gives_bool)
    node.first, node.second, node.third = condition, then, otherwise
    return node


cdef struct Strict:
    Operation operation
    bint gives_bool


cdef Strict strict_named(str name) except *:
    cdef Strict found
    found.operation = NULL
    found.gives_bool = True
    if name == "==": found.operation = run_eq
    elif name == "!=": found.operation = run_not_eq
    elif name == "<": found.operation = run_less
    elif name == "<=": found.operation = run_less_eq
    elif name == ">": found.operation = run_greater
    elif name == ">=": found.operation = run_greater_eq
    elif name == "!": found.operation = run_not
    elif name == "in": found.operation = run_in
    elif name == "is": found.operation = run_is
    elif name == "has": found.operation = run_has
    elif name == "like": found.operation = run_like
    elif name == "contains": found.operation = run_contains
    elif name == "containsAll": found.operation = run_contains_all
    elif name == "containsAny": found.operation = run_contains_any
    elif name == "isEmpty": found.operation = run_is_empty
    elif name == "hasTag": found.operation = run_has_tag
    else:
        found.gives_bool = False
        if name == "+": found.operation = run_add
        elif name == "-": found.operation = run_sub
        elif name == "*": found.operation = run_mul
        elif name == "neg": found.operation = run_neg
        elif name == ".": found.operation = run_get
        elif name == "getTag": found.operation = run_get_tag
        elif name == "Set": found.operation = run_set
        elif name == "Record": found.operation = run_record
        elif name == "extension": found.operation = run_extension
    return found


cdef Node strict(str name, Node first, Node second, object operand):
    """An operation on one or two operands, by its name in Cedar's JSON policy format."""
    cdef Strict found = strict_named(name)
    cdef Node node = node_of(STRICT, found.operation, found.gives_bool)
    node.first, node.second, node.operand = first, second, operand
    return node


cdef Node many(str name, list parts, object operand):
    """`Set`, `Record` or `extension` on any number of operands."""
    cdef Strict found = strict_named(name)
    cdef Node node = node_of(STRICT, found.operation, name == "extension" and (<ExtensionFunction>operand).gives_bool)
    node.parts, node.operand = tuple(parts), operand
    return node
