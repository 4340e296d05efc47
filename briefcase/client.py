"""The Python client: `Boundary`, `AsyncBoundary`, and what they raise. docs/clients.md has the use of each.

from briefcase.client import Boundary, Denied
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from briefcase.edges.client import late
from briefcase.edges.client.boundary import Boundary, Call
from briefcase.edges.client.conversations import Outcome
from briefcase.edges.client.verdicts import (
    Allowed,
    ApprovalPending,
    BoundaryError,
    BoundaryFault,
    Decision,
    Denied,
    Ran,
    Refused,
    ToolFailed,
    Waiting,
)

if TYPE_CHECKING:
    from briefcase.edges.client.async_boundary import AsyncBoundary, AsyncCall
else:

    def __getattr__(name: str) -> object:
        """`AsyncBoundary` and its call, whose loop and connections a plain program does not wait for."""
        if name not in {"AsyncBoundary", "AsyncCall"}:
            raise AttributeError(name)
        return getattr(late.async_boundary, name)


__all__ = [
    "Allowed",
    "ApprovalPending",
    "AsyncBoundary",
    "AsyncCall",
    "Boundary",
    "BoundaryError",
    "BoundaryFault",
    "Call",
    "Decision",
    "Denied",
    "Outcome",
    "Ran",
    "Refused",
    "ToolFailed",
    "Waiting",
]
