"""The format `kto`: one answer per row, with a label that says whether it is desirable."""

from dataclasses import replace

from grao_pipeline.prompts.base import DroppedRow, Prompt, PromptFormat, Row
from grao_pipeline.prompts.formats import messages, prompt_completion, sharegpt

LABELS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def convert(row: Row) -> Prompt:
    """A desirable answer is the reference, another one is the rejected answer: it never becomes a reference.

    Raises:
        DroppedRow: a value is missing or malformed.
    """
    label = LABELS.get(str(row["label"]).strip().lower())
    if label is None:
        raise DroppedRow("label is missing" if row["label"] is None else "label is neither true nor false")
    others = {name: value for name, value in row.items() if name != "label"}
    if "completion" in row:
        prompt = prompt_completion.convert(others)
    else:
        prompt = (messages if "messages" in row else sharegpt).convert(others)
    if prompt.reference is None:
        raise DroppedRow("the row has no answer that its label could rate")
    if label:
        return prompt
    lost = prompt.lost | ({"reasoning_content of the rejected answer"} if prompt.reference_reasoning else set())
    return replace(prompt, reference=None, rejected=prompt.reference, reference_reasoning=None, lost=frozenset(lost))


def fits(sample: Row) -> bool:
    has_answer = {"prompt", "completion"} <= sample.keys() or {"messages", "conversations"} & sample.keys()
    return bool(has_answer) and str(sample.get("label")).strip().lower() in LABELS


FORMAT = PromptFormat(
    name="kto",
    columns=("label",),
    shape="prompt, completion (or messages), label: true or false; rows of one prompt are paired",
    fits=fits,
    convert=convert,
    optional=("prompt", "completion", "messages", "conversations"),
    over=("prompt-completion", "messages", "sharegpt"),
    pairs_rows=True,
)
