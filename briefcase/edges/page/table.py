"""Every page and form of somebody who is logged in, and what the navigation offers."""

from __future__ import annotations

from typing import Final, NamedTuple

from briefcase.edges.page.asking import View
from briefcase.edges.page.views import approvals, receipts


class Item(NamedTuple):
    """One entry of the navigation. `needs` is what of the API the page reads: who may not is not offered it."""

    path: str
    name: str
    needs: str


NAVIGATION: Final = (
    Item("/approvals", "Waiting", "/v1/approvals"),
    Item("/receipts", "Receipts", "/v1/receipts"),
)
VIEWS: Final[tuple[View, ...]] = (*approvals.VIEWS, *receipts.VIEWS)
