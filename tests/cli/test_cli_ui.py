"""`briefcase ui` prints a link, and opens a browser only where one would be seen."""

import webbrowser

import pytest

from briefcase.edges.cli.ui import has_browser

URL = "http://localhost:8774/ui/login?code=once"


@pytest.fixture
def opened(monkeypatch, daemon):
    daemon.answers["POST", "/v1/page/links"] = {"url": URL, "expires_at": "2026-01-01T00:01:00Z"}
    urls = []
    monkeypatch.setattr(webbrowser, "open", lambda url: urls.append(url) is None)
    for name in ("SSH_CONNECTION", "SSH_TTY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    return urls


def test_the_link_is_printed_and_opened(run, opened):
    ran = run("ui")
    assert (ran.code, ran.out, opened) == (0, f"{URL}\n", [URL])
    assert "opened in your browser" in ran.err


def test_print_opens_nothing(run, opened):
    ran = run("ui", "--print")
    assert (ran.out, opened) == (f"{URL}\n", [])
    assert "open it in a browser within a minute" in ran.err
    assert run("ui", "--json").json["url"] == URL
    assert opened == []


@pytest.mark.parametrize(
    ("environ", "has_one"),
    [
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True),
        ({}, False),
        ({"DISPLAY": ":10", "SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"}, False),
    ],
)
def test_a_browser_opens_where_its_window_is_seen(environ, has_one, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    assert has_browser(environ) is has_one
