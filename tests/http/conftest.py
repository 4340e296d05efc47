"""The served API that these tests talk to."""

from support.api import rig

__all__ = ["rig"]
