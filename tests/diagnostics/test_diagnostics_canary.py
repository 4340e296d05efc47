"""The canary search finds what is planted, in every encoding, wherever it lies; a control run shows that it can."""

import base64
import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile

import pytest
from diagnostics_rig import briefcase

from briefcase.core.redaction.secret_forms import patterns_of
from briefcase.edges.diagnostics.canary import OVERLAP_BYTES, PIECE_BYTES, Canary, Search
from support.daemons import RunningDaemon
from support.redaction import KnownSecrets

SECRET = b"canary-7f3a/9+21 \xc3\xa9\"'"
LONG = bytes(range(33, 127)) * 40


def search_in(data: bytes, *secrets: bytes) -> Search:
    search = Search(Canary(KnownSecrets(*secrets)))
    search.look_in("here", io.BytesIO(data))
    return search


@pytest.mark.parametrize("form", sorted(patterns_of(SECRET)))
def test_every_encoding_is_found_where_it_is(form):
    (place,) = search_in(b"x" * 1_000 + form + b"y" * 1_000, SECRET).places
    assert place.offset <= 1_000 < place.offset + place.length
    assert place.offset + place.length >= 1_000 + len(form)


@pytest.mark.parametrize("shift", [-40, -21, -20, -10, -1, 0, 1, 7])
@pytest.mark.parametrize("border", [PIECE_BYTES, PIECE_BYTES - OVERLAP_BYTES, 2 * PIECE_BYTES])
def test_a_secret_across_the_pieces_is_found_once(border, shift):
    at = border + shift
    data = bytes(at) + SECRET + bytes(PIECE_BYTES)
    assert [(place.offset, place.length) for place in search_in(data, SECRET).places] == [(at, len(SECRET))]


def test_a_secret_longer_than_the_longest_pattern_is_found_across_pieces():
    at = PIECE_BYTES - 1_500
    places = search_in(bytes(at) + LONG + bytes(PIECE_BYTES), LONG).places
    assert places[0].offset == at
    assert max(place.offset + place.length for place in places) == at + len(LONG)


def test_nothing_is_found_where_nothing_is_and_what_is_too_short_is_said():
    search = search_in(b"nothing here " * 10_000, SECRET, b"short")
    assert (search.places, search.secrets, search.too_short) == ([], 1, 1)


def packed_zip(path, data):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner", data)


def packed_tar(path, data):
    with tarfile.open(path, "w:xz") as archive:
        info = tarfile.TarInfo("inner")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))


def packed_by(compress):
    return lambda path, data: path.write_bytes(compress(data))


@pytest.mark.parametrize(
    "pack",
    [packed_zip, packed_tar, packed_by(gzip.compress), packed_by(bz2.compress), packed_by(lzma.compress)],
)
def test_archives_and_compressed_files_are_looked_into(tmp_path, pack):
    (tmp_path / "deep").mkdir()
    pack(tmp_path / "deep" / "a", b"before " * 200 + base64.b64encode(SECRET) + b" after")
    search = Search(Canary(KnownSecrets(SECRET)))
    search.look(tmp_path)
    assert [place.where.startswith(f"{tmp_path}/deep/a:") for place in search.places] == [True]


def test_a_damaged_archive_is_told_and_not_taken_for_clean(tmp_path):
    whole = gzip.compress(SECRET * 100)
    (tmp_path / "a.gz").write_bytes(whole[: len(whole) // 2])
    search = Search(Canary(KnownSecrets(SECRET)))
    search.look(tmp_path)
    assert len(search.unread) == 1


def damaged(packed: bytes) -> bytes:
    """Compressed data with 30 bytes of noise in its middle."""
    at = len(packed) // 2
    return packed[:at] + b"\xaa" * 30 + packed[at + 30 :]


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_zip_with_noise_in_it_is_told_and_ends_no_search(tmp_path, compression):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        archive.writestr("x", os.urandom(2_000))
    (tmp_path / "a.zip").write_bytes(damaged(packed.getvalue()))
    (tmp_path / "b").write_bytes(SECRET)
    search = Search(Canary(KnownSecrets(SECRET)))
    search.look(tmp_path)
    assert [len(search.unread), len(search.places)] == [1, 1]


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, lambda _: b"\x28\xb5\x2f\xfd what"])
def test_what_can_not_be_decompressed_is_told_and_ends_no_search(tmp_path, compress):
    (tmp_path / "a").write_bytes(damaged(compress(bytes(range(256)) * 9)))
    (tmp_path / "b").write_bytes(SECRET)
    search = Search(Canary(KnownSecrets(SECRET)))
    search.look(tmp_path)
    assert [len(search.unread), len(search.places)] == [1, 1]


def test_a_tar_hides_nothing_behind_a_link_that_leads_nowhere_or_a_damaged_header(tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "nowhere"
        archive.addfile(link)
        info = tarfile.TarInfo("inner")
        info.size = len(SECRET)
        archive.addfile(info, io.BytesIO(SECRET))
    tar = bytearray(packed.getvalue())
    (tmp_path / "a.tgz").write_bytes(gzip.compress(bytes(tar)))
    tar[512 + 148 : 512 + 156] = b"7777777\0"  # the second header's checksum
    (tmp_path / "b.tgz").write_bytes(gzip.compress(bytes(tar)))
    search = Search(Canary(KnownSecrets(SECRET)))
    search.look(tmp_path)
    assert (len(search.places), search.unread) == (2, [])


def test_a_link_that_is_named_is_followed_and_what_can_not_be_read_is_told(tmp_path):
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    search = Search(Canary(KnownSecrets(SECRET)))
    for name in ("link", "pipe", "nothing"):
        search.look_at(tmp_path / name)
    assert (len(search.places), len(search.unread)) == (1, 2)


def test_a_name_that_is_no_text_is_shown_as_json_can_hold_it(tmp_path):
    path = tmp_path / os.fsdecode(b"a\xff.log")
    path.write_bytes(SECRET)
    search = Search(Canary(KnownSecrets(SECRET)))
    search.look_at(path)
    assert search.places[0].where == f"{tmp_path}/a\\xff.log"


def test_links_are_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "link").symlink_to(tmp_path / "secret")
    search = Search(Canary(KnownSecrets(SECRET)))
    search.look(tmp_path / "d")
    assert (search.places, search.files) == ([], 0)


PLANTED = "canary-5d41402abc4b2a76"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with RunningDaemon(tmp_path_factory.mktemp("canary") / "data") as running:
        assert running.request("PUT", "/v1/secrets/crm", {"value": PLANTED})[0] == 200
        running.call("echo", {"text": f"my key is {PLANTED}"})
        yield running


def shows(ran, daemon) -> bool:
    return PLANTED in ran.out + ran.err or daemon.operator_token in ran.out + ran.err


def test_a_daemon_keeps_its_secrets_out_of_receipts_database_and_log(daemon):
    ran = briefcase(daemon.env, "diagnostics", "canary", daemon.log.name, "--json")
    assert (ran.code, ran.json["places"], ran.json["unread"]) == (0, [], [])
    assert ran.json["secrets"] >= 4  # the planted one, the identity key, two tokens
    assert ran.json["files"] >= 3


def test_the_control_run_finds_what_is_planted_and_never_shows_it(daemon, tmp_path):
    log = tmp_path / "app.log"
    log.write_text(
        f"GET /?k={PLANTED}\n{base64.b64encode(b'a' + PLANTED.encode()).decode()}\n{daemon.operator_token}\n"
    )
    for words in (("--json",), ()):
        ran = briefcase(daemon.env, "diagnostics", "canary", str(log), "--no-stored", *words)
        assert ran.code == 7
        assert not shows(ran, daemon)
    ran = briefcase(daemon.env, "diagnostics", "canary", str(log), "--no-stored", "--json")
    assert ran.json["places"][0]["offset"] == len("GET /?k=")
    assert len(ran.json["places"]) == 3


@pytest.mark.parametrize("name", ["ledger/archive/segment-0000000000000001-0000000000000002.gz", "archive/r.jsonl"])
def test_archived_and_imported_receipts_are_stored_receipts(daemon, name):
    path = daemon.data_dir / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_bytes(gzip.compress(PLANTED.encode() * 9) if name.endswith("gz") else PLANTED.encode())
    try:
        assert briefcase(daemon.env, "diagnostics", "canary").code == 7
    finally:
        path.unlink()


def test_without_its_daemon_the_vault_is_opened_for_the_search(daemon, tmp_path):
    (tmp_path / "log").write_text(f"leaked {PLANTED}")
    daemon.stop()
    try:
        found = briefcase(daemon.env, "diagnostics", "canary", str(tmp_path / "log"), "--json")
        clean = briefcase(daemon.env, "diagnostics", "canary", "--json")
    finally:
        daemon.start()
    assert (found.code, len(found.json["places"]), clean.code) == (7, 1, 0)
    assert not shows(found, daemon)


def test_only_an_operator_may_ask(daemon):
    auditor = (daemon.data_dir / "auditor_token").read_text().strip()
    body = {"data_b64": ""}
    assert daemon.request("POST", "/v1/diagnostics/canary", body, token=auditor)[0] == 403
    assert daemon.request("POST", "/v1/diagnostics/canary", {"data_b64": "*"})[0] == 400
    assert daemon.request("POST", "/v1/diagnostics/canary", body)[0] == 200
