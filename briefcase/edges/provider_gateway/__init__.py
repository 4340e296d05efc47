"""The reference provider of `aacp_v1`: what the daemon talks to, and what a provider puts in front of a real API.

`settings`, `facts` (what must survive a restart), `authority` (capabilities: issued, bound, metered, revoked),
`oauth`, `credentials` (verifiable credentials and their status list), `payments` (demonstration rails),
`guard` (the middleware for protected calls), `app` (the paths), `http` (its requests and answers), `keys`, `serving`.

Callers: `cli`.
"""
