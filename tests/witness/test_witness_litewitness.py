"""Against independent programs of filippo.io/torchwood, where they are at hand: `make witness-interop` fetches them.

`litewitness` is a witness: it takes our checkpoints as they are, its cosignatures are good here, and it refuses what
was put back. `spicy` verifies a proof of logging by itself, in the form that c2sp.org/tlog-proof was made of: without
the first line and without `extra`.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
from pathlib import Path
from typing import Self

import pytest

from briefcase.core.receipts.note_keys import parse_vkey
from briefcase.core.receipts.tree import EMPTY_ROOT
from briefcase.core.receipts.witnessing import SIZE_TYPE, AddCheckpoint, encode_request
from support.cli import FakeRoot, run
from support.daemons import RunningDaemon
from support.waiting import wait_until

PLACE = os.environ.get("BRIEFCASE_TORCHWOOD_BIN", "")
PROGRAMS = {name: shutil.which(name, path=PLACE or None) for name in ("litewitness", "spicy")}
AGENT = [shutil.which(name) for name in ("ssh-agent", "ssh-add", "ssh-keygen")]
pytestmark = pytest.mark.skipif(
    not all(PROGRAMS.values()) or not all(AGENT),
    reason="no litewitness, spicy or OpenSSH: `make witness-interop`",
)
NAME = "witness.example/lw"


class Litewitness:
    """One process, with an ssh-agent that holds its key."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.agent = str(directory / "agent")
        self.log = directory / "log"
        self._processes: list[subprocess.Popen[bytes]] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _open(self) -> None:
        key = self.directory / "id"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        self._start(["ssh-agent", "-D", "-a", self.agent])
        wait_until(self._agent_listens)
        subprocess.run(["ssh-add", "-q", key], env={**os.environ, "SSH_AUTH_SOCK": self.agent}, check=True)
        said = subprocess.run(["ssh-keygen", "-l", "-f", f"{key}.pub"], check=True, capture_output=True, text=True)
        self._start([
            PROGRAMS["litewitness"], "-name", NAME, "-listen", self.address, "-key", said.stdout.split()[1],
            "-ssh-agent", self.agent, "-db", str(self.directory / "db"),
        ])  # fmt: skip
        wait_until(lambda: "msg=listening" in self.log.read_text(), self.log.read_text)

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            process.wait()

    def _agent_listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as asking:
            return asking.connect_ex(self.agent) == 0

    def _start(self, command) -> None:
        with self.log.open("ab") as log:
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log))

    @property
    def vkey(self) -> str:
        """Its key, as it says at its start."""
        return re.search(r"vkey=(\S+)", self.log.read_text())[1]

    def know(self, vkey: str) -> None:
        """Take a log, as its `witnessctl` would write it."""
        origin = parse_vkey(vkey).name
        with sqlite3.connect(self.directory / "db") as database:
            database.execute("insert into log values (?, 0, ?)", (origin, base64.b64encode(EMPTY_ROOT).decode()))
            database.execute("insert into key values (?, ?)", (origin, vkey))
        database.close()

    def post(self, body: bytes) -> tuple[int, str, bytes]:
        """One request by hand: status, content type, body."""
        ran = subprocess.run(
            ["curl", "-s", "-i", "--data-binary", "@-", f"http://{self.address}/add-checkpoint"],
            input=body, capture_output=True, check=True,
        )  # fmt: skip
        head, _, answer = ran.stdout.partition(b"\r\n\r\n")
        kind = re.search(rb"(?i)content-type: (\S+)", head)
        return int(head.split()[1]), kind[1].decode() if kind else "", answer


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    top = tmp_path_factory.mktemp("lw")
    (top / "data").mkdir(mode=0o700)
    with Litewitness(top) as witness:
        config = f'[net]\nallow_private = ["{witness.address}"]\n[receipts]\nwitness_interval_s = 1\n'
        (top / "data" / "briefcase.toml").write_text(config)
        with RunningDaemon(top / "data") as daemon:
            yield witness, daemon


def cli(daemon, *args):
    return run(FakeRoot(daemon.data_dir), *args, BRIEFCASE_DAEMON_UNIX_SOCKET=daemon.socket_path)


def standing(daemon):
    return daemon.request("GET", "/v1/witnesses")[1]["witnesses"][0]


def grown(daemon, count=4) -> int:
    for number in range(count):
        daemon.call("echo", {"text": str(number)})
    wanted = daemon.request("POST", "/v1/receipts/verify")[1]["head"]["id"]
    wait_until(lambda: standing(daemon)["size"] >= wanted, lambda: str(standing(daemon)))
    return wanted


def test_another_program_cosigns_our_checkpoints_and_refuses_a_replay(scene, tmp_path):
    witness, daemon = scene
    # a log that it does not know: said, and no call stopped
    assert cli(daemon, "witness", "add", f"http://{witness.address}", "--key", witness.vkey).code == 0
    wait_until(lambda: standing(daemon)["problem"])
    assert "does not know this log or its key (403: unknown log)" in standing(daemon)["problem"]
    # once it knows it, it cosigns each state from the last one on
    witness.know(daemon.request("GET", "/v1/witnesses")[1]["log_vkey"])
    first = grown(daemon)
    early = daemon.request("GET", "/v1/witnesses/checkpoints")[1]["checkpoints"][0]
    assert grown(daemon) > first
    verified = daemon.request("POST", "/v1/receipts/verify")[1]
    assert (verified["ok"], verified["witnessed"]["quorum_met"]) == (True, True)
    assert verified["witnessed"]["by"] == [parse_vkey(witness.vkey).label]
    # what it was shown before is refused now, with the size that it saw
    own = early["note"].partition("\n\n")
    note = own[0] + "\n\n" + own[2].split("\n")[0] + "\n"
    status, kind, body = witness.post(encode_request(AddCheckpoint(0, (), note)))
    assert (status, kind) == (409, SIZE_TYPE)
    assert int(body) >= verified["witnessed"]["size"]
    # another verifier takes a receipt's proof, and not of another receipt
    proof = tmp_path / "proof"
    assert cli(daemon, "receipts", "prove", "2", "--format", "tlog-proof", "--out", str(proof)).code == 0
    header, extra, rest = proof.read_text().split("\n", 2)
    assert (header, extra.split()[0]) == ("c2sp.org/tlog-proof@v1", "extra")
    for receipt_id, is_good in ((2, True), (3, False)):
        hash_hex = daemon.request("GET", f"/v1/receipts/{receipt_id}")[1]["hash_hex"]
        entry = tmp_path / f"{receipt_id}.hash"
        entry.write_bytes(bytes.fromhex(hash_hex))
        entry.with_name(f"{entry.name}.spicy").write_text(rest)
        vkey = daemon.request("GET", "/v1/witnesses")[1]["log_vkey"]
        ran = subprocess.run([PROGRAMS["spicy"], "-verify", vkey, entry], capture_output=True, check=False)
        assert (ran.returncode == 0) == is_good, ran
