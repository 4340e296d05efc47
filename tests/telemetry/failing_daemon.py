"""The daemon with an `echo` that fails as no tool may, or, asked to, a ledger whose commit of the outcome fails."""

import sys

from briefcase.__main__ import main
from briefcase.adapters.ledger import Ledger
from briefcase.adapters.tools.builtin import BuiltinTool
from briefcase.model.errors import StoreError


async def fail(_self, args, _context):
    raise RuntimeError(f"broke on {args}")


async def refuse():
    raise StoreError("the disk went away", detail="EIO")


def commit_no_outcome(ledger, entry, commit=Ledger.commit):
    return refuse() if entry.event["kind"] == "outcome" else commit(ledger, entry)


if __name__ == "__main__":
    if "close" in sys.argv:
        Ledger.commit = commit_no_outcome
    else:
        BuiltinTool.execute = fail
    sys.argv[1:] = ["daemon"]
    sys.exit(main())
