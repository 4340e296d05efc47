"""A served API whose page is real: identifiers that nobody foresees, and a listener of its own."""

import msgspec
import pytest

from briefcase.adapters.system import SystemEntropy
from support.api import Rig


@pytest.fixture
async def rig(tmp_path):
    served = Rig(tmp_path)
    served.services = msgspec.structs.replace(served.services, entropy=SystemEntropy())
    async with served:
        yield served
