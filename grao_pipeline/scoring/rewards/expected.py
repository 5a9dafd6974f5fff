"""The expected answer of a verifier: where the metadata has it, and why it cannot be used."""

from collections.abc import Mapping

from grao_pipeline.scoring.metadata import field_value
from grao_pipeline.scoring.rewards.base import Judgement
from grao_pipeline.scoring.rewards.common import readable

UNREADABLE = "the expected answer cannot be read"


class NoExpectedAnswer(Exception):
    """The metadata has no expected answer that the verifier can use; the message says why."""

    def judgement(self) -> Judgement:
        """The status of every candidate of this prompt."""
        return Judgement(None, "error", readable(str(self)))


def concerns_expected(detail: str) -> bool:
    """Whether the detail of an error says that the expected answer is there but cannot be used."""
    return detail.startswith((UNREADABLE, "metadata '"))


def unreadable(field: str, answer: object) -> NoExpectedAnswer:
    """The exception for an answer that its verifier cannot read whole."""
    return NoExpectedAnswer(f"{UNREADABLE}: metadata '{field}' is {answer!r}")


def expected_value(metadata: Mapping[str, object], field: str) -> object:
    """The value of a metadata field.

    Raises:
        NoExpectedAnswer: it is missing, or it is null.
    """
    value = field_value(metadata, field)
    if value is None:
        fields = ", ".join(sorted(name for name, other in metadata.items() if other is not None))
        others = f"; it has: {fields}. Name one with field=NAME" if fields else ""
        raise NoExpectedAnswer(f"metadata has no '{field}' to compare with{others}")
    return value


def expected_text(metadata: Mapping[str, object], field: str) -> str:
    """The expected answer as text; a number as JSON writes it.

    Raises:
        NoExpectedAnswer: it is missing, or it is neither text nor a number.
    """
    value = expected_value(metadata, field)
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise NoExpectedAnswer(_problem(value, field))


def expected_texts(metadata: Mapping[str, object], field: str) -> list[str]:
    """The accepted answers as texts: one, or those of a list.

    Raises:
        NoExpectedAnswer: it is missing, or one is neither text nor a number.
    """
    value = expected_value(metadata, field)
    if not isinstance(value, list):
        return [str(value)] if isinstance(value, bool) else [expected_text(metadata, field)]
    if not value or not all(isinstance(answer, str | int | float) for answer in value):
        raise NoExpectedAnswer(_problem(value, field))
    return [str(answer) for answer in value]


def _problem(value: object, field: str) -> str:
    if isinstance(value, Mapping):
        kind, names = "an object", [f"{field}.{key}" for key in value]
    elif isinstance(value, list):
        kind, names = f"a list of {len(value)}", [f"{field}.{index}" for index in range(len(value))]
    else:
        kind, names = repr(value), []
    remedy = f"; name one of its values, e.g. field={names[0]}" if names else ""
    return f"{UNREADABLE}: metadata '{field}' is {kind}, not a text or a number{remedy}"
