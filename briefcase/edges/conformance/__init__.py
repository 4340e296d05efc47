"""Harnesses that check others against the contract.

`checks` (what a table of checks is, and how it is tried), `report`, `proofs` (made claim by claim, forged on purpose);
`provider` with `subject` (a provider, as a client that may misbehave); `control_plane` with `fleet_subject` and the
tables `fleet_administration`, `fleet_devices`, `fleet_uploads`, `fleet_additions`, `fleet_relay` (a control plane, as
its administrator and as devices that may misbehave; `fleet_receipts` makes their chains).

Callers: `cli`.
"""
