"""All that an operator can change, composed once: a noun each."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from briefcase.operator.administration import Administration, Settler
from briefcase.operator.agents import AgentAdmin


class Operator(msgspec.Struct, frozen=True):
    """What an operator does, by noun. `settle` comes before the first request."""

    administration: Administration
    agents: AgentAdmin

    async def settle(self) -> None:
        """Close each change that a crash left open.

        Raises:
            StoreError: one could not be closed; the next start goes on.
        """
        settlers: Mapping[str, Settler] = self.agents.settlers()
        await self.administration.settle(settlers)
