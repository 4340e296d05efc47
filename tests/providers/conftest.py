"""A daemon's providers, composed in the test's own loop."""

import pytest

from support.provider_desk import ProviderDesk


@pytest.fixture
async def open_desk(tmp_path):
    """Opens a desk with other settings of its gateway, or with other options of its providers (`opens`)."""
    made = []

    def opening(*, opens=None, **settings):
        desk = ProviderDesk(tmp_path, **settings)
        desk.open(**(opens or {}))
        made.append(desk)
        return desk

    yield opening
    for desk in made:
        await desk.close()


@pytest.fixture
async def desk(open_desk):
    return open_desk()
