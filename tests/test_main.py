"""The entry points."""

import subprocess
import sys


def test_it_refuses_to_start_beside_beewares_package(tmp_path):
    meta = tmp_path / "briefcase-0.3.20.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: briefcase\nVersion: 0.3.20\n")

    started = subprocess.run(
        [sys.executable, "-m", "briefcase", "--version"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert started.returncode == 1
    assert "BeeWare's `briefcase` 0.3.20" in started.stderr
    assert "pipx" in started.stderr
    assert "Traceback" not in started.stderr
