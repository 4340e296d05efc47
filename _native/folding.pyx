"""Folding: a program with everything evaluated ahead that depends only on what is known of a request.

It keeps every error where it was: `false && x` is false, but `x && false` still has to meet the error in `x`. What a
constant part fails with becomes a constant failure, met when the program gets there and not before.
"""

from briefcase._native.programs cimport (
    CHOICE, CONJUNCTION, DISJUNCTION, LITERAL, STRICT, Node, Request, chain, choice, literal, node_of,
)
from briefcase._native.values cimport Fault, wrong_type


cdef Node folded(Node node, Request known):
    """The same program for every request that agrees with `known`, with what is constant evaluated.

    Entities that `known.entities` does not hold are not known yet: nothing is concluded from their absence.
    """
    if node.kind == LITERAL:
        return node
    if node.kind == CONJUNCTION or node.kind == DISJUNCTION:
        return folded_chain(node, known)
    if node.kind == CHOICE:
        return folded_choice(node, known)
    if node.kind == STRICT:
        return folded_strict(node, known)
    value = node.operation(node, known)
    return node if value is None else literal(value)


cdef object as_condition(object value):
    """What a constant is where a bool is wanted."""
    return value if value is True or value is False or type(value) is Fault else wrong_type("bool", value)


cdef Node folded_chain(Node node, Request known):
    cdef list parts = []
    cdef Node part
    cdef object neutral = node.kind == CONJUNCTION
    for each in node.parts:
        part = folded(<Node>each, known)
        if part.kind == LITERAL and part.operand is neutral:
            continue
        parts.append(part)
        if part.kind == LITERAL:  # decides, or fails: what follows is never reached
            break
    if not parts:
        return literal(neutral)
    part = <Node>parts[0]
    if len(parts) == 1 and part.gives_bool:
        return part
    if part.kind == LITERAL:
        return literal(as_condition(part.operand))
    return chain(node.kind, parts)


cdef Node folded_choice(Node node, Request known):
    cdef Node condition = folded(node.first, known)
    if condition.kind == LITERAL:
        if condition.operand is True or condition.operand is False:
            return folded(node.second if condition.operand is True else node.third, known)
        return literal(as_condition(condition.operand))
    return choice(condition, folded(node.second, known), folded(node.third, known))


cdef Node folded_strict(Node node, Request known):
    cdef Node made = node_of(STRICT, node.operation, node.gives_bool)
    cdef bint constant = True
    cdef list parts
    made.operand = node.operand
    if node.first is not None:
        made.first = folded(node.first, known)
        constant = made.first.kind == LITERAL
    if node.second is not None:
        made.second = folded(node.second, known)
        constant = constant and made.second.kind == LITERAL
    if node.parts is not None:
        parts = [folded(<Node>part, known) for part in node.parts]
        made.parts = tuple(parts)
        for part in parts:
            constant = constant and (<Node>part).kind == LITERAL
    if constant:
        known.undetermined = False
        value = made.operation(made, known)
        if not known.undetermined:
            return literal(value)
    return made
