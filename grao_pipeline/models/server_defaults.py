"""How requests to a server are sent where nothing else is asked for, by sampling and by judges alike."""

CONCURRENCY = 64
"""Requests in flight."""
RETRIES = 10
"""Further tries of a request that failed."""
REQUEST_TIMEOUT = 600.0
"""Seconds after which a request is tried again."""
