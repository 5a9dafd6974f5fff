"""Default limits of requests to a server, for sampling and for judges."""

CONCURRENCY = 64
"""Requests in flight."""
RETRIES = 10
"""Further tries of a request that failed."""
REQUEST_TIMEOUT = 600.0
"""Seconds after which a request is tried again."""
