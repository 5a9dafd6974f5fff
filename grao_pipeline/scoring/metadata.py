"""Fields of a row's metadata by name."""

from collections.abc import Mapping

from grao_pipeline.json_text import InvalidJson, parse_json


def field_value(metadata: Mapping[str, object], name: str) -> object:
    """The field of this name; None where the row lacks it, or where it is null.

    `a.b` is the key `a.b` where there is one, else field `b` of the object `a`, which may be JSON text; `a.0` is the
    first element of the list `a`.

    >>> field_value({"reward_model": {"ground_truth": ["4", "four"]}}, "reward_model.ground_truth.1")
    'four'
    """
    return _value(metadata, name)


def _value(container: object, name: str) -> object:
    if isinstance(container, str):
        container = _json(container)
    if isinstance(container, list):
        container = {str(index): element for index, element in enumerate(container)}
    if not isinstance(container, Mapping):
        return None
    if name in container:
        return container[name]
    head, _, rest = name.partition(".")
    return _value(container.get(head), rest) if rest else None


def _json(text: str) -> object:
    try:
        return parse_json(text)
    except InvalidJson:
        return None
