"""Pages that are one file: no script, nothing fetched, light and dark, from a phone's width up.

Whatever text is put on one is made visible (`core.characters.marks`) and escaped by the functions here, so that what an
agent or a server chose is read, and never acts. The page's own policy (CSP) forbids scripts and requests besides.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Final

from briefcase.core.characters.marks import visible_text

_SIGN: Final = re.compile(r"(?<=[._:/-])(?=\w)")
_CSP: Final = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--page:#fff;--card:#f6f8fa;--rule:#d1d9e0;--ours:#0969da;
--good:#1a7f37;--warn:#9a6700;--bad:#cf222e;--none:#eaeef2}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--page:#0d1117;--card:#151b23;--rule:#3d444d;
--ours:#4493f8;--good:#3fb950;--warn:#d29922;--bad:#f85149;--none:#21262d}}
*{box-sizing:border-box}
body{font:15px/1.55 system-ui,sans-serif;max-width:62rem;margin:0 auto;padding:1.5rem 1rem 4rem;color:var(--ink);
background:var(--page)}
h1{font-size:1.6rem;line-height:1.25;margin:.5rem 0}h2{font-size:1.15rem;margin:2.4rem 0 .6rem}
h3{font-size:1rem;margin:1.4rem 0 .3rem}p{margin:.4rem 0}.soft{color:var(--soft)}
.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}.strong{font-weight:600}.nowrap{white-space:nowrap}
.wide{overflow-x:auto;margin:.4rem 0}
table{border-collapse:collapse;width:100%}
td,th{padding:.35rem .7rem .35rem 0;border-bottom:1px solid var(--rule);text-align:left;vertical-align:top;
overflow-wrap:break-word}
th{font-weight:600;color:var(--soft);font-size:.85rem;overflow-wrap:normal}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
svg{width:100%;height:auto;display:block}svg text{fill:var(--soft);font:12px system-ui,sans-serif}
code{font:.85em ui-monospace,monospace;overflow-wrap:anywhere}
@media(max-width:40rem){body{padding:1rem .8rem 3rem;font-size:14px}h1{font-size:1.35rem}
table.stacks thead{display:none}table.stacks tr{display:block;padding:.5rem 0;border-bottom:1px solid var(--rule)}
table.stacks td{display:flex;justify-content:space-between;gap:1rem;border:0;padding:.1rem 0;text-align:right;
overflow-wrap:anywhere;white-space:normal}
table.stacks td:empty{display:none}
table.stacks td::before{content:attr(data-head);color:var(--soft);text-align:left;flex:none}
table.stacks td:first-child{font-weight:600}}
@media print{body{max-width:none}h2{break-after:avoid}tr{break-inside:avoid}}
"""


def page(title: str, parts: Iterable[str], style: str = "") -> str:
    """A whole document.

    Args:
        title: text.
        parts: its body, as HTML.
        style: CSS of this page alone.
    """
    return "".join([
        "<!doctype html>\n<html lang=en><meta charset=utf-8>",
        f'<meta http-equiv=Content-Security-Policy content="{_CSP}">',
        "<meta name=viewport content='width=device-width,initial-scale=1'>",
        f"<title>{text(title)}</title><style>{_STYLE}{style}</style>\n",
        *parts,
        "</html>\n",
    ])  # fmt: skip


def text(words: str) -> str:
    """Text somebody else chose, as HTML that shows it."""
    return html.escape(visible_text(words))


def code(words: str) -> str:
    """An id, a digest, a command; where it must break, it does so behind its signs."""
    return f"<code>{_SIGN.sub('<wbr>', text(words))}</code>"


def styled(words: str, style: str) -> str:
    """Text in one of the page's styles: `good`, `warn`, `bad`, `soft`, `strong`."""
    return f'<span class="{style}">{text(words)}</span>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str = "None.") -> str:
    """A table that a phone shows row by row, each cell with its column's name.

    Args:
        head: the columns' names; one that begins with `>` holds numbers.
        rows: cells as HTML.
        empty: the sentence for no rows.
    """
    names = [name.removeprefix(">") for name in head]
    styles = [' class="n"' if name.startswith(">") else "" for name in head]
    body = "".join(
        "<tr>"
        + "".join(
            f'<td{style} data-head="{text(name)}">{cell}</td>'
            for cell, name, style in zip(row, names, styles, strict=True)
        )
        + "</tr>\n"
        for row in rows
    )
    if not body:
        return f"<p class=soft>{text(empty)}</p>"
    headings = "".join(f"<th{style}>{text(name)}" for name, style in zip(names, styles, strict=True))
    return f"<div class=wide><table class=stacks><thead><tr>{headings}</thead><tbody>{body}</tbody></table></div>"


def counted(count: int, noun: str) -> str:
    """`1 day`, `2 days`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
