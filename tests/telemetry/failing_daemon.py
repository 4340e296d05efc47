"""The daemon with an `echo` that fails as no tool may, or, asked to, a ledger whose commit of the outcome fails."""

import sys

from briefcase.__main__ import main
from briefcase.adapters.tools.builtin import BuiltinTool
from briefcase.core.calls.flow import Calls
from briefcase.model.errors import StoreError


async def fail(_self, args, _context):
    raise RuntimeError(f"broke on {args}")


async def refuse(_self, *_):
    raise StoreError("the disk went away", detail="EIO")


if __name__ == "__main__":
    if "close" in sys.argv:
        Calls._close = refuse
    else:
        BuiltinTool.execute = fail
    sys.argv[1:] = ["daemon"]
    sys.exit(main())
