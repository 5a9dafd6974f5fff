"""Versions of the data contract, which `schemas.py` describes, and what a row of its tables is in Python."""

from collections.abc import Mapping
from typing import Any

CONTRACT_VERSION = 2
READABLE_VERSIONS = (1, 2)
"""Version 1 lacks columns and fields of messages that may be null; a reader fills them with nulls."""
Row = Mapping[str, Any]
"""A row of a table: column → value, of the type that the schema says."""
