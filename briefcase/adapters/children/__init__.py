"""Programs the daemon starts that it does not trust: how each is kept out of the daemon's own files and process.

Callers: `prompting`, `providers`, `servers`; daemon.
"""
