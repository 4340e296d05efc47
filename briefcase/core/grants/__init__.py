"""Grants: what a person lets pass beside one call they approve, in place of being asked again.

| module | job |
|---|---|
| `bounds` | how often, how much and until when: counted by the ledger, inside its transaction |
| `arguments` | a call's arguments as a grant's condition reads them, and what "within what was shown" means |
| `drafting` | a grant's condition in Cedar and in words, made of what was shown; what is never granted |
| `held` | the grants in force, by whose calls and which tool; whether a call meets one's condition |

Callers: `calls`, `operator`; adapters, edges, daemon.
"""
