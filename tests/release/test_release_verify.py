"""A release is held to what was signed of it: each file changed in turn, and each way to stand in for another."""

import base64
import json
import zipfile

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from briefcase.__main__ import Root
from briefcase.adapters.disk.files import digest_of
from briefcase.core.fleet.envelopes import pae
from briefcase.core.jose.did import encode_did_key
from briefcase.edges.cli.main import main
from briefcase.edges.release.statement import (
    MANIFEST,
    PAYLOAD_TYPE,
    PROVENANCE,
    SBOM_IN_WHEEL,
    Artifact,
    Kind,
    Manifest,
    Signing,
    sign,
)
from briefcase.edges.release.verifying import ReleaseError, verify_release
from briefcase.model.errors import CallerError

VERSION = "1.0.0"
WHEEL = f"agentic_briefcase-{VERSION}-cp311-cp311-manylinux_2_34_x86_64.whl"
SDIST = f"agentic_briefcase-{VERSION}.tar.gz"
SBOM = f"agentic_briefcase-{VERSION}.cdx.json"
FILES = {SDIST: Kind.SDIST, WHEEL: Kind.WHEEL, SBOM: Kind.SBOM, "runtime.txt": Kind.LOCK}
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


def did_of(key):
    return encode_did_key(key.public_key().public_bytes_raw())


def wheel(path, sbom):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("briefcase/__init__.py", "")
        archive.writestr(f"agentic_briefcase-{VERSION}.dist-info/{SBOM_IN_WHEEL}", sbom)


def attest(directory, key=KEY, **changes):
    """Sign what is in a directory, as `make release` does; `changes` are to the manifest."""
    (directory / PROVENANCE).unlink(missing_ok=True)
    (directory / MANIFEST).unlink(missing_ok=True)
    artifacts = tuple(Artifact(path.name, FILES[path.name], *digest_of(path)) for path in sorted(directory.iterdir()))
    values = {"artifacts": artifacts, "commit": "a" * 40, "signing": Signing.PINNED, **changes}
    manifest = Manifest(
        product="agentic-briefcase",
        version=VERSION,
        source_date_epoch=1,
        tools={},
        compiler="cc",
        tried_on={},
        **values,
    )
    (directory / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    digests = {path.name: digest_of(path)[1] for path in directory.iterdir()}
    (directory / PROVENANCE).write_bytes(sign(manifest, digests, did_of(key), key.sign))


@pytest.fixture
def dist(tmp_path):
    directory = tmp_path / "dist"
    directory.mkdir()
    (directory / SDIST).write_bytes(b"sdist")
    (directory / SBOM).write_bytes(b'{"bomFormat":"CycloneDX"}')
    wheel(directory / WHEEL, (directory / SBOM).read_bytes())
    (directory / "runtime.txt").write_bytes(b"click==8")
    attest(directory)
    return directory


def test_a_release_as_it_was_made_is_verified_with_its_key_and_without(dist):
    pinned = verify_release(dist, did_of(KEY))
    assert (pinned.manifest.version, pinned.did, pinned.is_pinned) == (VERSION, did_of(KEY), True)
    assert not verify_release(dist).is_pinned


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_each_file_changed_in_turn_is_named(dist, name):
    data = bytearray((dist / name).read_bytes())
    data[len(data) // 2] ^= 1
    (dist / name).write_bytes(data)
    with pytest.raises(ReleaseError, match=f"`{name}` is not the file that was signed"):
        verify_release(dist, did_of(KEY))


@pytest.mark.parametrize("name", [*FILES, MANIFEST, PROVENANCE])
def test_each_file_that_is_missing_is_named(dist, name):
    (dist / name).unlink()
    with pytest.raises(ReleaseError, match=f"`{name}` is missing"):
        verify_release(dist)


def test_a_file_that_is_a_link_is_none(dist, tmp_path):
    (dist / SDIST).rename(tmp_path / "elsewhere")
    (dist / SDIST).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ReleaseError, match=f"`{SDIST}` is missing, or no plain file"):
        verify_release(dist)


def test_a_file_that_nobody_signed_is_named(dist):
    (dist / "agentic_briefcase-1.0.0-py3-none-any.whl").write_bytes(b"pip would take this one")
    with pytest.raises(ReleaseError, match=r"py3-none-any\.whl` is beside the release"):
        verify_release(dist)


def test_the_release_of_another_key_is_refused_where_a_key_was_named(dist):
    attest(dist, OTHER)
    assert verify_release(dist).did == did_of(OTHER)
    with pytest.raises(ReleaseError, match="signed by"):
        verify_release(dist, did_of(KEY))


def envelope_of(dist):
    return json.loads((dist / PROVENANCE).read_bytes())


def put(dist, envelope):
    (dist / PROVENANCE).write_text(json.dumps(envelope))


def other_signature(envelope):
    raw = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    raw[3] ^= 1
    envelope["signatures"][0]["sig"] = base64.b64encode(raw).decode()


def other_signer_of_the_same_bytes(envelope):
    payload = base64.b64decode(envelope["payload"])
    envelope["signatures"][0]["sig"] = base64.b64encode(OTHER.sign(pae(PAYLOAD_TYPE, payload))).decode()


def other_payload(envelope):
    payload = base64.b64decode(envelope["payload"]).replace(b'"sha256":"', b'"sha256":"0', 1)
    envelope["payload"] = base64.b64encode(payload).decode()


def other_type(envelope):
    envelope["payloadType"] = "application/vnd.briefcase.fleet.keys+json"


def no_signature(envelope):
    envelope["signatures"] = []


def two_signatures(envelope):
    envelope["signatures"] *= 2


def a_key_that_is_none(envelope):
    envelope["signatures"][0]["keyid"] = "did:key:z"


@pytest.mark.parametrize(
    "change",
    [
        other_signature,
        other_signer_of_the_same_bytes,
        other_payload,
        other_type,
        no_signature,
        two_signatures,
        a_key_that_is_none,
    ],
)
def test_an_envelope_that_was_changed_is_refused_before_it_is_read(dist, change):
    envelope = envelope_of(dist)
    change(envelope)
    put(dist, envelope)
    with pytest.raises(ReleaseError, match="signature"):
        verify_release(dist)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"payload":1}', b"\xff", b"x" * (1 << 20)])
def test_what_is_no_envelope_is_refused(dist, data):
    (dist / PROVENANCE).write_bytes(data)
    with pytest.raises(ReleaseError, match=PROVENANCE):
        verify_release(dist)


@pytest.mark.parametrize("value", [{"_type": "https://in-toto.io/Statement/v0.1"}, {"predicateType": "other"}])
def test_a_statement_of_another_kind_is_refused_though_it_is_signed(dist, value):
    envelope = envelope_of(dist)
    payload = json.dumps({**json.loads(base64.b64decode(envelope["payload"])), **value}).encode()
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(KEY.sign(pae(PAYLOAD_TYPE, payload))).decode()
    put(dist, envelope)
    with pytest.raises(ReleaseError, match="SLSA provenance"):
        verify_release(dist)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "", ".hidden", "a/b"])
def test_a_statement_that_names_a_file_elsewhere_is_refused_though_it_is_signed(dist, name):
    envelope = envelope_of(dist)
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["subject"][0]["name"] = name
    payload = json.dumps(statement).encode()
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(KEY.sign(pae(PAYLOAD_TYPE, payload))).decode()
    put(dist, envelope)
    with pytest.raises(ReleaseError, match="expected an in-toto statement"):
        verify_release(dist)


def test_a_manifest_that_says_otherwise_than_the_statement_is_refused_though_it_is_signed(dist):
    artifacts = [Artifact(name, kind, *digest_of(dist / name)) for name, kind in FILES.items()]
    attest(dist, artifacts=(*artifacts[1:],))
    with pytest.raises(ReleaseError, match="does not list the files"):
        verify_release(dist)
    attest(dist, artifacts=(*artifacts[1:], Artifact(SDIST, Kind.SDIST, 5, "0" * 64)))
    with pytest.raises(ReleaseError, match="another digest or size"):
        verify_release(dist)
    attest(dist, artifacts=(*artifacts[:1], *artifacts))
    with pytest.raises(ReleaseError, match="does not list the files"):
        verify_release(dist)


def test_a_wheel_with_another_sbom_than_the_one_beside_it_is_named(dist):
    wheel(dist / WHEEL, b"{}")
    attest(dist)
    with pytest.raises(ReleaseError, match=f"the SBOM in `{WHEEL}` is not the one beside it"):
        verify_release(dist)


def test_a_directory_that_is_not_there_is_said(tmp_path):
    with pytest.raises(CallerError, match="no directory"):
        verify_release(tmp_path / "none")


@pytest.mark.parametrize(
    ("key", "code", "said"), [(KEY, 0, "nothing changed"), (None, 0, "signer not pinned"), (OTHER, 7, "signed by")]
)
def test_the_command_says_who_signed_and_whether_that_is_the_one(dist, key, code, said, capfd):
    options = [] if key is None else ["--key", did_of(key)]
    assert main(Root(), ["release", "verify", str(dist), *options]) == code
    written = capfd.readouterr()
    assert said in written.out + written.err
