"""The bounded HTTP/1.1 server that the daemon, the gateway and the provider gateway share.

From the wire inwards: `sockets` binds and names peers, `places` tells which connections are kept, `connection` bounds
and frames HTTP/1.1, `exchange` is one request and its answer, `routing` finds what is at a path, `guard` refuses what a
browser must not be used for, `server` starts and drains. `limits` has every bound.
"""
