"""Who administers: a name, a role and a tenant."""

from __future__ import annotations

from typing import Final

import msgspec

ADMIN: Final = "admin"
AUDITOR: Final = "auditor"
APPROVER: Final = "approver"
FIRST_ADMIN: Final = "environment"
INSTALLER: Final = "first start"


class Administrator(msgspec.Struct, frozen=True):
    """Who asks: a name, a role, and the tenant whose things they see. `is_first` holds the environment's token."""

    tenant: str
    name: str
    role: str
    is_first: bool = False
