"""Templates: every value that is printed is made visible, then escaped; nothing an agent wrote is ever markup.

# INVARIANT (hostile): `_printed` is where each value goes through, and no template says `safe`. What is invisible, or
# is taken for another character, is shown as `<U+XXXX>`, as on a terminal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import jinja2
from markupsafe import Markup

from briefcase.core.characters.marks import visible_text
from briefcase.core.json.members import paragraphs_of
from briefcase.model.types import MICROUSD_PER_USD, US_PER_S, parse_rfc3339

HERE: Final = Path(__file__).parent
KINDS: Final = {".css": b"text/css; charset=utf-8", ".js": b"text/javascript; charset=utf-8", ".svg": b"image/svg+xml"}
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_MAX_FRACTION_DIGITS: Final = 6


def _printed(value: object) -> object:
    if isinstance(value, Markup):
        return value
    return "" if value is None else visible_text(str(value))


def when(rfc3339: str) -> str:
    """A wire time as a person reads it: UTC, to the second; what is no time as it is."""
    try:
        return f"{datetime.fromtimestamp(parse_rfc3339(rfc3339) // US_PER_S, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return rfc3339


def time_left(rfc3339: str, now_us: int) -> str:
    """How long until a wire time, in its largest two units."""
    try:
        left_s = (parse_rfc3339(rfc3339) - now_us) // US_PER_S
    except (ValueError, OverflowError):
        return rfc3339
    parts: list[str] = []
    for size_s, unit in _UNITS:
        count, left_s = divmod(max(left_s, 0), size_s)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "no time"


def dollars(microusd: int) -> str:
    """Micro-USD as dollars, exactly."""
    whole, rest = divmod(abs(microusd), MICROUSD_PER_USD)
    fraction = f"{rest:0{_MAX_FRACTION_DIGITS}d}".rstrip("0").ljust(2, "0")
    return f"{'-' if microusd < 0 else ''}${whole:,}.{fraction}"


def price(usd: float) -> str:
    """What a call is expected to cost."""
    microusd = round(usd * MICROUSD_PER_USD)
    return dollars(microusd) if microusd else "free"


class Templates:
    """The templates and the files beside them, read once."""

    def __init__(self) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=_printed,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters.update(
            when=when, time_left=time_left, dollars=dollars, price=price, paragraphs=paragraphs_of
        )
        paths = sorted(path for path in (HERE / "static").iterdir() if path.suffix in KINDS)
        self.files = {path.name: (KINDS[path.suffix], path.read_bytes()) for path in paths}
        versions = {name: hashlib.sha256(data).hexdigest()[:16] for name, (_, data) in self.files.items()}
        self._environment.globals["files"] = {name: f"/ui/static/{name}?v={of}" for name, of in versions.items()}

    def page(self, template: str, values: Mapping[str, object]) -> bytes:
        """A page as HTML.

        Args:
            template: its file.
            values: what stands in it.
        """
        return self._environment.get_template(f"{template}.html").render(values).encode()
