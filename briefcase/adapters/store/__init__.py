"""The daemon's own files: the data directory, its token files, and `briefcase.sqlite` for what changes rarely.

One file per noun: `files` (private files, atomic replacement), `data_dir` (the directory and its lock),
`tokens` (the operator's and auditor's token files), `database` (SQLite, its migrations), `agents`, `notes`.
"""
