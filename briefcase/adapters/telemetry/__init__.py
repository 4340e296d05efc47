"""What the daemon tells about itself: logs, figures for Prometheus, and OpenTelemetry for whoever switched it on.

Callers: `backup`, `children`, `fleet`, `service_manager`, `servers`, `witness`; edges, daemon.
"""
