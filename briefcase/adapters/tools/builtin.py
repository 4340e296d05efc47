"""The built-in tools: `echo`, `note_add`, `notes_list`, `file_read`."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeAlias

from briefcase.adapters.tools.definition import with_digest
from briefcase.adapters.tools.files import FileSandbox
from briefcase.adapters.tools.schema import ArgsCheck
from briefcase.model.ports import CallContext, Clock, Redactor
from briefcase.model.types import JsonObject, JsonValue, OutputFirewall, ToolResult, ToolSpec, format_rfc3339

SOURCE: Final = "builtin"
MAX_ECHO_CHARS: Final = 1 << 16
MAX_NOTE_CHARS: Final = 1 << 14
MAX_NOTES_LISTED: Final = 1_000
MAX_LISTED_CHARS: Final = 1 << 17  # fits the output firewall even where every character takes six bytes in JSON
MAX_PATH_CHARS: Final = 4_096
JSON_BYTES_PER_BYTE: Final = 6  # a control character becomes six bytes (RFC 8785 section 3.2.2.2)

Run: TypeAlias = Callable[[JsonObject], Awaitable[JsonValue]]


class StoredNote(Protocol):
    """A note as it is kept."""

    @property
    def id(self) -> int:
        """Grows; never used again."""
        ...

    @property
    def text(self) -> str:
        """What was written."""
        ...

    @property
    def created_us(self) -> int:
        """When."""
        ...


class NoteStore(Protocol):
    """Where notes are kept. Durability: a note is on disk when `add` returns."""

    async def add(self, text: str, now_us: int) -> int:
        """Store a note; gives its id. Raises `StoreError`."""
        ...

    async def list(self, limit: int) -> Sequence[StoredNote]:
        """The newest notes, newest first."""
        ...


class BuiltinTool:
    """A tool that runs inside the daemon: a definition, the check of its schema, and a coroutine."""

    def __init__(self, spec: ToolSpec, run: Run) -> None:
        self.spec: Final = with_digest(spec)  # a field: each call asks for it six times
        self.check_args: Final = ArgsCheck(spec.input_schema).problem_of
        self._run = run

    async def execute(self, args: JsonObject, context: CallContext) -> ToolResult:  # of the port
        """Run with the value that was decided on."""
        return ToolResult(await self._run(args), SOURCE)


class RedactedNotes:
    """Notes without the vault's secrets: what an agent writes down is stored as it could be shown."""

    def __init__(self, notes: NoteStore, redactor: Redactor) -> None:
        self._notes = notes
        self._redactor = redactor

    async def add(self, text: str, now_us: int) -> int:
        """Store a note, redacted."""
        return await self._notes.add(self._redactor.redact_text(text), now_us)

    async def list(self, limit: int) -> Sequence[StoredNote]:
        """The newest notes."""
        return await self._notes.list(limit)


def builtin_tools(notes: NoteStore, clock: Clock, sandbox: FileSandbox) -> Sequence[BuiltinTool]:
    """The built-in tools over what they need."""

    async def echo(args: JsonObject) -> JsonValue:
        return {"echo": args["text"]}

    async def note_add(args: JsonObject) -> JsonValue:
        return {"id": await notes.add(str(args["text"]), clock.now_us())}

    async def notes_list(_args: JsonObject) -> JsonValue:
        shown: list[JsonValue] = []
        chars = 0
        for note in await notes.list(MAX_NOTES_LISTED):
            chars += len(note.text)
            if chars > MAX_LISTED_CHARS:
                break
            shown.append({"id": note.id, "text": note.text, "created_at": format_rfc3339(note.created_us)})
        return {"notes": shown}

    async def file_read(args: JsonObject) -> JsonValue:
        data = await asyncio.to_thread(sandbox.read, str(args["path"]))
        try:
            return {"text": data.decode()}
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(data).decode()}

    text: JsonValue = {"type": "string", "maxLength": MAX_ECHO_CHARS}
    return (
        BuiltinTool(
            ToolSpec(
                id="echo",
                name="Echo",
                description="Give back the text it was given",
                input_schema=_object(text=text),
                output_schema=_object(echo={"type": "string"}),
                category="read",
            ),
            echo,
        ),
        BuiltinTool(
            ToolSpec(
                id="note_add",
                name="Add a note",
                description="Keep a note",
                input_schema=_object(text={"type": "string", "minLength": 1, "maxLength": MAX_NOTE_CHARS}),
                output_schema=_object(id={"type": "integer"}),
                category="write",
            ),
            note_add,
        ),
        BuiltinTool(
            ToolSpec(
                id="notes_list",
                name="List notes",
                description=f"The newest notes, at most {MAX_NOTES_LISTED} and {MAX_LISTED_CHARS} characters",
                input_schema=_object(),
                output_schema=_object(notes={"type": "array", "items": {"type": "object"}}),
                category="read",
            ),
            notes_list,
        ),
        BuiltinTool(
            ToolSpec(
                id="file_read",
                name="Read a file",
                description="A whole file below a permitted directory: its `text`, or `base64` where it is no UTF-8",
                input_schema=_object(path={"type": "string", "minLength": 1, "maxLength": MAX_PATH_CHARS}),
                output_schema={"type": "object"},
                category="read",
                output_firewall=OutputFirewall(max_bytes=JSON_BYTES_PER_BYTE * (sandbox.max_bytes + 1_024)),
                fs_access=True,
            ),
            file_read,
        ),
    )


def _object(**properties: JsonValue) -> JsonObject:
    """A schema of exactly these properties, all of them required."""
    return {
        "type": "object",
        "properties": properties,
        "required": list[JsonValue](sorted(properties)),
        "additionalProperties": False,
    }
