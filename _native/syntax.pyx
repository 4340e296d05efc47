"""From Cedar's JSON policy format to programs (docs/adr/0005 says why not from cedarpy's node objects).

What is compiled here was parsed by Cedar itself, so this reads a known format; still, anything it does not know is
refused by name rather than guessed. Nesting is bounded: deeper programs could exhaust the C stack when they run.
"""

from briefcase._native.entities cimport cedar_value, uid_of
from briefcase._native.extensions cimport extension_named
from briefcase._native.programs cimport CONJUNCTION, DISJUNCTION, Kind, Node, chain, choice, literal, many, strict, variable
from briefcase._native.values cimport Fault, shown

cdef int MAX_DEPTH = 256

cdef set BINARY = {
    "==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*",
    "contains", "containsAll", "containsAny", "getTag", "hasTag",
}
cdef set UNARY = {"!", "neg", "isEmpty"}


cdef Node compile_expression(object expression, int depth):
    """Compile one expression of Cedar's JSON policy format.

    Raises:
        ValueError: nested more than `MAX_DEPTH` deep, or no expression this engine knows.
    """
    if depth > MAX_DEPTH:
        raise ValueError(too_deep())
    if type(expression) is not dict or len(expression) != 1:
        raise ValueError(f"expected an expression of one key, got `{shown(expression)}`")
    (name, body), = expression.items()
    if name == "Value":
        return literal(cedar_value(body, 0))
    if name == "Fault":  # never of the parser's making: an expression that is known to err
        return literal(Fault(text_of(body)))
    if name == "Var":
        return checked(variable(body), name, body)
    if name == "&&" or name == "||":
        return compile_chain(name, expression, depth)
    if name in BINARY:
        return strict(
            name,
            compile_expression(body["left"], depth + 1),
            compile_expression(body["right"], depth + 1),
            None,
        )
    if name in UNARY:
        return strict(name, compile_expression(body["arg"], depth + 1), None, None)
    return compile_special(name, body, depth)


cdef str too_deep():
    return f"expected expressions nested at most {MAX_DEPTH} deep; split the condition"


cdef str text_of(object json):
    """A name: programs rely on its type without looking again."""
    if type(json) is not str:
        raise ValueError(f"expected a string, got `{shown(json)}`")
    return json


cdef Node checked(Node node, str name, object body):
    if node is None:
        raise ValueError(f"expected a known `{name}`, got `{shown(body)}`")
    return node


cdef Node compile_chain(str name, dict expression, int depth):
    """`((a && b) && c) && …` as one node: how long a chain is adds nothing to how deep it is."""
    cdef list parts = []
    while type(expression) is dict and len(expression) == 1 and name in expression:
        parts.append(compile_expression(expression[name]["right"], depth + 1))
        expression = expression[name]["left"]
    parts.append(compile_expression(expression, depth + 1))
    parts.reverse()
    return chain(CONJUNCTION if name == "&&" else DISJUNCTION, parts)


cdef Node compile_special(str name, object body, int depth):
    """The operations that are not only operands: names, types, patterns, any number of parts."""
    if name == "." or name == "has":
        return strict(name, compile_expression(body["left"], depth + 1), None, text_of(body["attr"]))
    if name == "like":
        return strict(name, compile_expression(body["left"], depth + 1), None, pieces_of(body["pattern"]))
    if name == "is":
        return compile_is(body, depth)
    if name == "if-then-else":
        return choice(
            compile_expression(body["if"], depth + 1),
            compile_expression(body["then"], depth + 1),
            compile_expression(body["else"], depth + 1),
        )
    if name == "Set":
        return many(name, [compile_expression(part, depth + 1) for part in body], None)
    if name == "Record":
        return many(name, [compile_expression(part, depth + 1) for part in body.values()], tuple(body))
    function = extension_named(name)
    if function is None:
        raise ValueError(f"expected an operation of the Cedar language, got `{name}`")
    return many("extension", [compile_expression(part, depth + 1) for part in body], function)


cdef Node compile_is(dict body, int depth):
    """`e is T` or `e is T in x`, which is `e is T && e in x`."""
    cdef Node subject = compile_expression(body["left"], depth + 1)
    cdef Node typed = strict("is", subject, None, text_of(body["entity_type"]))
    if body.get("in") is None:
        return typed
    return chain(CONJUNCTION, [typed, strict("in", subject, compile_expression(body["in"], depth + 1), None)])


cdef tuple pieces_of(list pattern):
    """A `like` pattern as the texts between its wildcards."""
    cdef list pieces = [[]]
    for element in pattern:
        if element == "Wildcard":
            pieces.append([])
        else:
            pieces[len(pieces) - 1].append(element["Literal"])
    return tuple(["".join(piece) for piece in pieces])


cdef EntityUid scope_entity(dict constraint, dict slots):
    """The entity a scope names, by uid or by a template's slot."""
    if "slot" in constraint:
        return slots[constraint["slot"]]
    return uid_of(constraint["entity"])
