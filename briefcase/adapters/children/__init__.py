"""Programs the daemon starts that it does not trust: how each is kept out of the daemon's own files and process.

Callers: `providers`, `servers`; daemon.
"""
