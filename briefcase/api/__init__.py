"""The daemon's HTTP API: one file for each noun, over ports.

From the wire inwards: `sockets` binds and names peers, `protocol` bounds HTTP/1.1, `exchange` is one request and its
answer, `server` starts and drains, `app` takes a request through guard, route, authentication, role and handler, and
each noun's file ends in its `ROUTES`.
"""
