"""The format `verl`: prompts for reinforcement learning with the ground truth that a verifier needs."""

from collections.abc import Mapping

from grao_pipeline.prompts.base import Prompt, PromptFormat, Row, rest
from grao_pipeline.prompts.conversations import conversation


def convert(row: Row) -> Prompt:
    """A prompt without a reference. `reward_model.ground_truth` becomes metadata.answer where it is a text or a number
    and the row has no column `answer`; all columns but `prompt` go to the metadata.

    Raises:
        DroppedRow: the prompt is missing or malformed.
    """
    lost: set[str] = set()
    messages = conversation(row["prompt"], "prompt", lost=lost)
    metadata = rest(row, "prompt")
    reward_model = row["reward_model"]
    truth = reward_model.get("ground_truth") if isinstance(reward_model, Mapping) else None
    if metadata.get("answer") is None and isinstance(truth, str | int | float) and not isinstance(truth, bool):
        metadata["answer"] = truth
    return Prompt(messages, None, None, metadata, lost=frozenset(lost))


def fits(sample: Row) -> bool:
    reward_model = sample.get("reward_model")
    return "prompt" in sample and isinstance(reward_model, Mapping) and "ground_truth" in reward_model


FORMAT = PromptFormat(
    name="verl",
    columns=("prompt", "reward_model"),
    shape="prompt: a list of {role, content}; reward_model: {ground_truth, …}, which becomes metadata.answer",
    fits=fits,
    convert=convert,
    over=("prompt-completion",),
)
