"""Where only signers are taken, the page's buttons widen nothing: they come the same way as a request with a token."""

import re

import msgspec
import pytest

from briefcase.adapters.system import SystemEntropy
from briefcase.edges.api.effects import CHANGES, UNSIGNED
from briefcase.edges.api.in_process import InProcessApi
from briefcase.model.errors import CallerError
from support.api import Rig
from support.page import logged_in
from support.principals import OPERATOR


@pytest.fixture
async def rig(tmp_path):
    served = Rig(tmp_path)
    served.services = msgspec.structs.replace(served.services, entropy=SystemEntropy(), signers_only=True)
    async with served:
        yield served


@pytest.mark.parametrize(("method", "path"), sorted(CHANGES - UNSIGNED))
async def test_no_change_that_could_widen_anything_is_made_by_a_log_in_alone(rig, method, path):
    api = InProcessApi(rig.services, rig.buckets)
    before = len(rig.ledger.chain)
    with pytest.raises(CallerError) as caught:
        await api.change(OPERATOR, re.sub(r"\{\w+\}", "x", path), object, {}, method=method)
    assert caught.value.code == "signer_required"
    assert len(rig.ledger.chain) == before


async def test_the_page_lets_nobody_in_and_says_why(rig):
    browser = await logged_in(rig)
    form = (await browser.get(f"{browser.base}/people")).fields()
    page = await browser.post(f"{browser.base}/people/agents", {**form, "name": "scout"})
    assert page.status == 403
    assert "signature of a paired signer" in page.text
