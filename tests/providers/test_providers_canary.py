"""Every credential of a provider, planted by use and looked for in every file that is left behind."""

import base64
import json
import logging

from briefcase.adapters.vault.sealed_file import SealedFile


def forms(secret):
    """The value, and what is looked for of it in base64 at each alignment, in hexadecimal and in JSON."""
    yield secret
    yield secret.hex().encode()
    yield json.dumps(secret.decode())[1:-1].encode()
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + secret)
        yield encoded[4 if shift else 0 : -4]


def credentials_of(desk, login, entitlement, held, key):
    return {
        "access token": login.access_token.encode(),
        "refresh token": login.refresh_token.encode(),
        "credential": entitlement.credential_jwt.encode(),
        "capability": held.token.encode(),
        "proof key": json.loads(key.export())["d"].encode(),
    }


def found_in(directory, credentials):
    found = set()
    for path in directory.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        found |= {
            (name, path.name) for name, secret in credentials.items() if any(form in data for form in forms(secret))
        }
    return found


async def test_no_credential_is_in_any_file_log_receipt_or_answer(desk, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)

    await desk.service.close()
    desk.backend = SealedFile(tmp_path, None)
    desk.open()
    await desk.log_in()
    await desk.service.fetch_credential("demo")
    result = await desk.quote()
    custody = desk.service._custody
    login, entitlement = await custody.login("demo"), await custody.entitlement("demo")
    held = desk.capabilities._slots["demo"].held
    credentials = credentials_of(desk, login, entitlement, held, await custody.key("demo"))

    assert found_in(tmp_path, credentials) == set()
    said = repr((result, await desk.service.list(), desk.service.health(), desk.ledger.chain, caplog.text)).encode()
    assert not [name for name, secret in credentials.items() if any(form in said for form in forms(secret))]

    # the same search finds them where they are kept in the clear
    for name, secret in credentials.items():
        (tmp_path / "planted").write_bytes(b"x" + base64.b64encode(b"y" + secret))
        assert found_in(tmp_path, {name: secret}) == {(name, "planted")}

    await desk.service.delete("demo")
    (tmp_path / "planted").unlink()
    assert found_in(tmp_path, credentials) == set()
    assert await desk.vault.compartment("providers").names() == []
