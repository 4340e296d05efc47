"""How a control plane is set: everything that is not safe or not complete is refused before anything runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from briefcase.edges.control_plane.settings import ServeOptions, parse_settings
from briefcase.model.errors import ConfigError

TOKEN = "0123456789abcdef"
GOOD = {"BRIEFCASE_DATA_DIR": "/data", "BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN": TOKEN}
EMBEDDED = ServeOptions(is_embedded=True)


def test_what_is_not_said_is_the_default():
    settings = parse_settings(GOOD, EMBEDDED)
    assert (settings.host, settings.port, settings.is_embedded) == ("127.0.0.1", 8790, True)
    assert settings.directory == Path("/data/control-plane")
    assert settings.signing_key_file == Path("/data/control-plane/signing_key")


def test_the_command_line_stands_above_the_environment():
    environ = GOOD | {"BRIEFCASE_CONTROL_PLANE_LISTEN": "127.0.0.1:1"}
    assert parse_settings(environ, EMBEDDED).port == 1
    assert parse_settings(environ, ServeOptions(is_embedded=True, listen="[::1]:2")).host == "::1"


@pytest.mark.parametrize(
    ("environ", "options", "problem"),
    [
        (GOOD, ServeOptions(), "BRIEFCASE_CONTROL_PLANE_DATABASE_URL"),
        (GOOD | {"BRIEFCASE_CONTROL_PLANE_DATABASE_URL": "postgresql://h/d"}, EMBEDDED, "got both"),
        ({}, EMBEDDED, "BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN"),
        (GOOD | {"BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN": "short"}, EMBEDDED, "at least 16"),
        (GOOD | {"BRIEFCASE_CONTROL_PLANE_AUDITOR_TOKEN": "with a space in it"}, EMBEDDED, "AUDITOR_TOKEN"),
        (GOOD | {"BRIEFCASE_CONTROL_PLANE_PUBLIC_BASE_URL": "fleet.example"}, EMBEDDED, "PUBLIC_BASE_URL"),
        (GOOD, ServeOptions(is_embedded=True, listen="0.0.0.0:8790"), "expected TLS"),
        (GOOD, ServeOptions(is_embedded=True, listen="fleet.example:1"), "ADDRESS:PORT"),
        (GOOD, ServeOptions(is_embedded=True, listen="127.0.0.1:65536"), "ADDRESS:PORT"),
        (GOOD, ServeOptions(is_embedded=True, listen="127.0.0.1"), "ADDRESS:PORT"),
        (GOOD, ServeOptions(is_embedded=True, certificate=Path("c")), "together"),
        (GOOD, ServeOptions(is_embedded=True, proxies=("nowhere",)), "behind-proxy"),
    ],
)
def test_what_is_not_safe_or_not_complete_is_refused(environ, options, problem):
    with pytest.raises(ConfigError, match=problem):
        parse_settings(environ, options)


def test_clear_text_from_elsewhere_is_for_a_named_proxy():
    options = ServeOptions(is_embedded=True, listen="0.0.0.0:8790", proxies=("10.0.0.0/8",))
    assert str(parse_settings(GOOD, options).proxies[0]) == "10.0.0.0/8"


def test_without_its_libraries_the_command_says_what_to_install(tmp_path):
    program = "import sys; sys.modules['uvicorn'] = None; from briefcase.__main__ import main; sys.exit(main())"
    environ = {
        "PATH": "/usr/bin:/bin",
        "BRIEFCASE_DATA_DIR": str(tmp_path),
        "BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN": TOKEN,
    }
    command = [sys.executable, "-c", program, "control-plane", "serve", "--embedded"]
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 9
    assert "`uvicorn`, which is not installed" in ran.stderr
    assert "[control-plane]" in ran.stderr


def test_no_secret_stands_in_a_message():
    with pytest.raises(ConfigError) as refused:
        parse_settings(GOOD | {"BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN": "hunter2"}, EMBEDDED)
    assert "hunter2" not in refused.value.message + refused.value.hint
