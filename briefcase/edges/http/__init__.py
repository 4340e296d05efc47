"""The bounded HTTP/1.1 server that the daemon, the gateway and the provider gateway share.

From the wire inwards: `sockets` binds and names peers, `places` tells which connections are kept, `connection` bounds
HTTP/1.1, `framing` is the table of its states, `exchange` is one request and its answer in the words of `wire`, `asgi`
serves an application that speaks ASGI, `routing` finds what is at a path, `guard` refuses what a browser must not be
used for, `server` starts and drains. `limits` has every bound.

Callers: `api`, `client`, `diagnostics`, `gateway`, `page`, `provider_gateway`; daemon.
"""
