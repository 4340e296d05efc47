"""OAuth's client side: one log-in flow, one renewal and one registration, for providers and MCP servers alike.

`metadata` (what authorization servers say of themselves), `challenges` (what a refusal asks for), `discovery` (from a
resource to who may let us in), `registration` (who we are there), `client` (the endpoints), `flow` (a log-in from its
beginning to its end), `renewal` (ahead of its end), `custody` (what the vault holds), `loopback` (where a browser
brings the code), `wire` (answers, read strictly).

Callers: `providers`, `servers`; edges.
"""
