"""Providers: credentials the agent never sees, turned into short-lived capabilities at call time.

`registry` (which providers there are), `custody` (what the vault holds of each), `wire` (their answers, read
strictly), `oauth` (log in, refresh, revoke), `renewal` (ahead of a log-in's end), `entitlement` (verifiable
credentials), `payments` (demonstration rails), `capabilities` (minted ahead, cached, bound), `client` (the protected
call), `quote` (the built-in paid tool), `loopback` (where a browser brings the code), `verdicts` (what the contract
harness found), `service` (the nouns of the API over all of it).
"""
