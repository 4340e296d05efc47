"""The operator page (`briefcase ui`): what waits, receipts and the rest, in a browser on this host.

`serving` opens it when somebody asks for a link, `sessions` says who is logged in, `app` answers requests, `table`
lists its pages, and `rendering` fills their templates in. What a page gets to know is in `asking`.

Callers: daemon.
"""
