"""Versions of the data contract, which `schemas.py` describes."""

CONTRACT_VERSION = 2
READABLE_VERSIONS = (1, 2)
"""Version 1 lacks columns and fields of messages that may be null; a reader fills them with nulls."""
