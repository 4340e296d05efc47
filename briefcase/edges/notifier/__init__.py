"""The notifier: tells people, wherever they are, that a call waits for them or that something is wrong.

It is a process of its own with an approver's or an auditor's token, and its own settings; it decides nothing.

Callers: `cli`.
"""
