"""What may run, and what a person must approve first: Cedar policies over tool calls.

A policy is text. It is parsed and validated by the reference engine when it is set, compiled to native programs once,
and then decides without the reference engine. Read in this order:

| module | job |
|---|---|
| `source` | policy text: bounds, its policies and their places, an error shown with its line and a caret |
| `check` | parse and validate, or say what is wrong and where; `schema.cedarschema`, `default.cedar` |
| `cedartypes`, `declared` | Cedar types, and what a tool's JSON Schema declares in them: the one reading of a schema |
| `expressions` | what parsed conditions read, and of what type they are |
| `argtypes` | the type that validation gives to `context.args`, which differs from tool to tool |
| `arguments` | a call's JSON arguments as Cedar values of the declared types |
| `engine`, `verdicts` | the compiled policy: one call to one verdict |
| `conditions` | a condition of ours that stands by itself, beside the policy: a grant's |
| `preview` | which tools an agent could call, as far as that can be said before there are arguments |
| `reference`, `shadow` | the same decision by the reference engine; sampling it beside the live one |
| `diff`, `testfiles`, `backtest` | what a change does: by policy, by test file, by recorded receipts |

Callers: `grants`, `operator`; edges, daemon.
"""
