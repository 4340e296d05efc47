"""The command line: one file per noun, loaded when its command is used.

`main` (the root command, the one place where errors become exit codes), `lazy` (groups that import late), `app` (what
every command is given), `client` (the daemon over HTTP), `render` (tables, JSON, money, times), then the nouns.

Callers: `__main__`.
"""
