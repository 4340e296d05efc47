"""The Model Context Protocol: its wire, shared with the gateway, and the servers that stand behind the daemon."""
