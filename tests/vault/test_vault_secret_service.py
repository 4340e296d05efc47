"""Against a real Secret Service: GNOME Keyring on a D-Bus session of its own."""

import os
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    shutil.which("dbus-run-session") is None or shutil.which("gnome-keyring-daemon") is None,
    reason="dbus-run-session or gnome-keyring-daemon is not installed",
)

SESSION = """
echo -n login-password | gnome-keyring-daemon --unlock --components=secrets --daemonize >/dev/null
"$1" -c "$2" "$3"
"""
SCENARIO = """
import asyncio, sys
from pathlib import Path
from briefcase.adapters.vault.opening import open_vault

data_dir = Path(sys.argv[1])

async def main():
    vault = await open_vault("auto", data_dir)
    print(vault.description)
    await vault.put("api", b"\\x00binary\\xff")
    await vault.put("long", b"x" * 65536)
    await vault.compartment("identity").put("key", b"own")
    await vault.put("gone", b"y")
    assert await vault.delete("gone")
    again = await open_vault("auto", data_dir)
    print(await again.names(), await again.get("api") == b"\\x00binary\\xff", len(await again.get("long")))
    other = data_dir / "other"
    other.mkdir()
    print(await (await open_vault("auto", other)).names())

asyncio.run(main())
"""


def test_secrets_are_kept_by_the_secret_service(tmp_path):
    environment = {"HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "run"), "PATH": os.environ["PATH"]}
    environment |= {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    for name in ("home", "run", "data"):
        (tmp_path / name).mkdir(mode=0o700)
    command = ["dbus-run-session", "--", "sh", "-c", SESSION, "sh", sys.executable, SCENARIO, str(tmp_path / "data")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()[-3:]
    assert first.startswith("OS keyring: SecretService Keyring")
    assert second == "['api', 'long'] True 65536"
    assert third == "[]"
    assert {file.name for file in (tmp_path / "data").iterdir() if file.is_file()} == {"vault.keyring"}
