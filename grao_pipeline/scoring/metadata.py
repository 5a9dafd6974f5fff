"""Fields of a row's metadata by name."""

from collections.abc import Mapping
from typing import Any


def field_value(metadata: Mapping[str, Any], name: str) -> object:
    """The field of this name; None where the row lacks it, or where it is null.

    `a.b` is the key `a.b` where there is one, else field `b` of the object `a`.

    >>> field_value({"reward_model": {"ground_truth": "4"}}, "reward_model.ground_truth")
    '4'
    """
    if name in metadata:
        return metadata[name]
    head, _, rest = name.partition(".")
    inner = metadata.get(head)
    return field_value(inner, rest) if rest and isinstance(inner, Mapping) else None
