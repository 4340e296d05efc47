"""What the API answers of a control plane, over the socket; the whole story is in `test_fleet_end_to_end.py`."""

from support.api import AGENT_TOKEN, AUDITOR_TOKEN, Rig

AT = "/v1/control-plane"
WANTED = {"base_url": "https://fleet.example", "admin_token": "t" * 20, "device_name": "laptop"}


async def test_a_daemon_that_is_not_enrolled_says_so(tmp_path):
    async with Rig(tmp_path) as rig:
        assert (await rig.ask("GET", AT))[2] == {"status": "not_enrolled", "mandatory": None}
        assert (await rig.ask("POST", f"{AT}/sync"))[2] == {"status": "not_enrolled"}
        status, _, body = await rig.ask("POST", f"{AT}/leave")
        assert (status, body["code"]) == (409, "conflict")
        assert (await rig.ask("POST", f"{AT}/mandatory/delete"))[0] == 404


async def test_only_an_operator_enrols_and_a_wrong_admin_token_is_not_repeated(tmp_path):
    async with Rig(tmp_path) as rig:
        for token in (AGENT_TOKEN, AUDITOR_TOKEN):
            assert (await rig.ask("POST", f"{AT}/enroll", WANTED, token=token))[0] == 403
        status, _, body = await rig.ask("POST", f"{AT}/enroll", {**WANTED, "admin_token": "two words"})
        assert (status, "two words" in body["message"]) == (400, False)
        assert rig.ledger.kinds() == []


async def test_a_control_plane_that_cannot_be_reached_is_an_upstreams_fault_with_its_receipt(tmp_path):
    async with Rig(tmp_path) as rig:
        status, _, body = await rig.ask("POST", f"{AT}/enroll", WANTED)
        assert (status, body["code"]) == (502, "upstream_failed")
        assert rig.ledger.kinds() == ["change_intent", "change_failed"]
