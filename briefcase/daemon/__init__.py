"""Settings, composition and life of the daemon."""
