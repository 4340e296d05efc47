"""The disk: durable private files, the checks of who else could have touched them, and locks.

| module | what |
|---|---|
| `checks` | who may own a file, with which mode, and under how many names |
| `files` | files that appear whole or not at all, with their order of system calls; reads that follow no link |
| `directories` | private directories, and the syncs that make names in them durable |
| `locks` | flock(2): one holder, who goes with its process |
| `data_dir` | the data directory, and the lock of the one daemon on it |
| `own_files` | the data directory by device and inode |

Nothing else in the package opens a file to write it, syncs one, renames one or locks one: `tests/disk` holds it.

Callers: `backup`, `fleet`, `ledger`, `providers`, `signers`, `store`, `telemetry`, `tools`, `vault`, `witness`; edges,
daemon.
"""
