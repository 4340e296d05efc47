"""briefcase: the trust boundary between AI agents and everything they can touch."""

__version__ = "0.1.0"
