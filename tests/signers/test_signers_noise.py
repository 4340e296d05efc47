"""The pairing handshake: a recorded vector, an independent library as the other end, and every broken message."""

import json
from pathlib import Path

import pytest
from noise.connection import NoiseConnection

from briefcase.adapters.signers.noise import PROTOCOL, Initiator, NoiseError, Responder

FIXTURE = Path(__file__).parent.parent / "fixtures" / "signer_pairing.json"
VECTOR = next(one for one in json.loads(FIXTURE.read_text()) if one["case"] == "vector")
PSK, OTHER = bytes.fromhex(VECTOR["psk_hex"]), bytes(32)
LOW_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


def of_vector(name: str) -> bytes:
    return bytes.fromhex(VECTOR[name])


def test_both_sides_say_the_recorded_messages_byte_for_byte():
    device = Initiator(PSK, of_vector("initiator_ephemeral_private_hex"))
    daemon = Responder(PSK, of_vector("responder_ephemeral_private_hex"))
    first = device.write_message(b"")
    assert first == of_vector("msg1_hex")
    assert daemon.read_message(first) == b""
    second = daemon.write_message(VECTOR["msg2_payload"].encode())
    assert second == of_vector("msg2_hex")
    assert device.read_message(second) == VECTOR["msg2_payload"].encode()
    assert device.handshake_hash == daemon.handshake_hash == of_vector("handshake_hash_hex")


def library(*, initiates: bool) -> NoiseConnection:
    end = NoiseConnection.from_name(PROTOCOL)
    end.set_psks(psk=PSK)
    end.set_as_initiator() if initiates else end.set_as_responder()
    end.start_handshake()
    return end


@pytest.mark.parametrize("payload", [b"", b"x", bytes(32)])
def test_another_implementation_is_understood_as_either_end(payload):
    device, daemon = library(initiates=True), Responder(PSK)
    assert daemon.read_message(bytes(device.write_message(payload))) == payload
    assert device.read_message(daemon.write_message(b"answer")) == b"answer"

    device, daemon = Initiator(PSK), library(initiates=False)
    assert daemon.read_message(device.write_message(payload)) == payload
    assert device.read_message(bytes(daemon.write_message(b"answer"))) == b"answer"


def test_a_message_of_another_code_or_with_any_bit_changed_is_refused():
    first = Initiator(PSK).write_message(b"pay")
    with pytest.raises(NoiseError):
        Responder(OTHER).read_message(first)
    for at in range(len(first)):
        changed = bytearray(first)
        changed[at] ^= 1
        with pytest.raises(NoiseError):
            Responder(PSK).read_message(bytes(changed))


@pytest.mark.parametrize("message", [b"", bytes(47), bytes(48), bytes(65_536)], ids=lambda message: str(len(message)))
def test_a_message_of_no_possible_length_is_refused(message):
    with pytest.raises(NoiseError):
        Responder(PSK).read_message(message)


@pytest.mark.parametrize("point", LOW_ORDER, ids=bytes.hex)
def test_a_point_of_low_order_is_refused_though_its_message_has_the_code(point, monkeypatch):
    device = Initiator(PSK)
    monkeypatch.setattr(device, "_public", point)
    with pytest.raises(NoiseError, match="no usable key"):
        Responder(PSK).read_message(device.write_message(b""))


def test_a_second_message_of_another_pairing_is_refused():
    device, other = Initiator(PSK), Responder(PSK)
    device.write_message(b"")
    other.read_message(Initiator(PSK).write_message(b""))
    with pytest.raises(NoiseError):
        device.read_message(other.write_message(b"id"))


def test_a_code_of_another_length_is_none():
    with pytest.raises(NoiseError):
        Responder(bytes(31))
