"""`briefcase config show`: every setting, where its value came from, and no secret."""

import json

import pytest

from briefcase.daemon.config_file import CONFIG_FILE
from briefcase.model.variables import BY_NAME, SECRET_NAMES
from support.cli import FakeRoot
from support.cli import run as run_with

SECRET = "hunter2-hunter2-hunter2"


@pytest.fixture
def show(tmp_path):
    return lambda *args, **variables: run_with(FakeRoot(tmp_path), "config", "show", *args, **variables)


def settings_of(ran):
    return {setting["name"]: setting for setting in json.loads(ran.out)["settings"]}


def test_a_value_is_shown_with_where_it_came_from(show, tmp_path):
    (tmp_path / CONFIG_FILE).write_text("[calls]\nburst = 7\n")
    ran = show("--json", BRIEFCASE_PROFILE_MODE="staging", HOME="/h", BRIEFCASE_AGENT_SOCKET="~/a.sock")
    found = settings_of(ran)

    assert ran.code == 0
    assert json.loads(ran.out)["file"] == str(tmp_path / CONFIG_FILE)
    assert set(BY_NAME) <= set(found)
    shown = {
        name: (found[name]["value"], found[name]["source"], found[name]["default"], found[name]["unit"])
        for name in ("BRIEFCASE_PROFILE_MODE", "BRIEFCASE_AGENT_SOCKET", "calls.burst", "calls.deadline_ms")
    }
    assert shown == {
        "BRIEFCASE_PROFILE_MODE": ("staging", "environment", "reference", ""),
        "BRIEFCASE_AGENT_SOCKET": ("/h/a.sock", "environment", None, ""),
        "calls.burst": (7, "file", 2000, ""),
        "calls.deadline_ms": (30000, "default", 30000, "milliseconds"),
    }


@pytest.mark.parametrize("options", [(), ("--json",), ("--set",)])
def test_no_secret_is_shown(show, options):
    variables = dict.fromkeys(SECRET_NAMES, SECRET)
    variables["BRIEFCASE_PROVIDER_BASE_URL"] = f"https://scout:{SECRET}@provider.example"
    variables["BRIEFCASE_FLEET_URL"] = f"https://fleet.example/?token={SECRET}"
    variables["OTEL_EXPORTER_OTLP_HEADERS"] = f"authorization={SECRET}"
    ran = show(*options, **variables)

    assert SECRET not in ran.out + ran.err
    if options == ("--json",):
        found = settings_of(ran)
        assert {found[name]["is_hidden"] for name in variables} == {True}
        assert {found[name]["source"] for name in variables} == {"environment"}


def test_what_has_its_default_can_be_left_out(show):
    ran = show("--set", "--json", BRIEFCASE_OTEL="0")
    assert {"BRIEFCASE_OTEL", "BRIEFCASE_DATA_DIR"} <= set(settings_of(ran))
    assert "BRIEFCASE_PROFILE_MODE" not in settings_of(ran)


@pytest.mark.parametrize(
    ("variables", "text", "says"),
    [
        ({"BRIEFCASE_PROFILE_MODE": "prod"}, "", "`BRIEFCASE_PROFILE_MODE`: expected one of reference, staging, ga"),
        ({"BRIEFCASE_STRICT_HOSTS": "1"}, "", "unknown variable `BRIEFCASE_STRICT_HOSTS`"),
        ({}, "[calls]\nbrust = 7\n", "brust"),
    ],
)
def test_what_a_daemon_would_refuse_is_said_after_what_is_set(show, tmp_path, variables, text, says):
    (tmp_path / CONFIG_FILE).write_text(text)
    ran = show(**variables)

    assert ran.code != 0
    assert "BRIEFCASE_DATA_DIR" in ran.out
    assert says in ran.err
