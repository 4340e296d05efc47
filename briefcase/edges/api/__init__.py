"""The daemon's HTTP API: one file for each noun, over ports.

`app` takes a request of the server (`briefcase.edges.http`) through guard, route, authentication, role and handler, and
each noun's file ends in its `ROUTES`.

Callers: `ext_authz`, `page`; daemon.
"""
