r"""A shell's command as policy reads it: its words where they are plain, and nothing where they are not. Pure.

Plain is one program with its arguments, all of it written so that every POSIX shell, zsh and fish read the same words:

    command := word (blanks word)*          blanks are spaces
    word    := (bare | 'single' | "double")+
    bare    := ASCII letters, digits and _ @ % + : , . / -, and = after one of them, but not in the first word
    single  := printable characters but ' \
    double  := printable characters but " $ ` \ !

So there is no operator, redirection, here-document, comment, substitution, variable, glob, brace, tilde, escape,
newline, assignment, reserved word or group in it, nothing a shell expands, and no character that cannot be seen. What
is not plain has no words at all: a policy that asks for a program by its name finds none.

What a program does with its words, and what a user's aliases make of its name, no splitting can tell: `sudo rm` is the
program `sudo`.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from briefcase.model.types import SHELL_MEDIA_TYPE, JsonObject

MAX_COMMAND_CHARS: Final = 4_096

_PIECE: Final = r"""(?:[A-Za-z0-9_@%+:,./-][A-Za-z0-9_@%+:,./=-]*+|'[^'\\]*+'|"[^"$`\\!]*+")"""
_PLAIN: Final = re.compile(rf"\A(?:{_PIECE}++(?:\ ++|\Z))++\Z")
_PART: Final = re.compile(
    r"""'(?P<single>[^']*+)'|"(?P<double>[^"]*+)"|(?P<blank>\ ++)|(?P<bare>[^'"\ ]++)"""
)  # of what is plain
_NO_PROGRAM: Final = frozenset({
    "", "-", "!", "case", "coproc", "do", "done", "elif", "else", "end", "esac", "fi", "for", "foreach", "function",
    "if", "in", "nocorrect", "noglob", "repeat", "select", "then", "time", "until", "while",
})  # fmt: skip


class Command(NamedTuple):
    """A command as policy reads it: `context.shell`. What is not `simple` has no words."""

    simple: bool = False
    program: str = ""
    subcommand: str = ""
    words: tuple[str, ...] = ()


NOT_PLAIN: Final = Command()


def read_command(command: object) -> Command:
    """Read a command; `NOT_PLAIN` where it is anything but one program with plain words."""
    if not isinstance(command, str) or len(command) > MAX_COMMAND_CHARS or not command.isprintable():
        return NOT_PLAIN
    text = command.strip(" ")
    if not _PLAIN.match(text):
        return NOT_PLAIN
    words, is_first = [""], True
    for part in _PART.finditer(text):
        if part["blank"]:
            words.append("")
            is_first = False
        elif is_first and "=" in part[0]:
            return NOT_PLAIN  # an assignment, or what could be read as one
        else:
            words[-1] += part[part.lastindex or 0]
    if words[0] in _NO_PROGRAM or words[0].startswith("%"):
        return NOT_PLAIN
    return Command(simple=True, program=words[0], subcommand=(*words, "")[1], words=tuple(words))


def command_argument(schema: JsonObject) -> str:
    """The name of the argument that a tool's schema declares as a shell's command; empty where there is none.

    It says so by `contentMediaType` (JSON Schema 2020-12, Validation, section 8.4).
    """
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return ""
    declared = (
        name
        for name, declared in properties.items()
        if isinstance(declared, dict) and declared.get("contentMediaType") == SHELL_MEDIA_TYPE
    )
    return next(declared, "")
