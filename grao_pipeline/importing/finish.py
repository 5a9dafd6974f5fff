"""How a response ended, by the names that other software gives it."""

from grao_pipeline.prompts.base import DroppedRow
from grao_pipeline.schemas import FinishReason

REASONS: dict[str, FinishReason] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "stop_token", "completed"), "stop"),
    **dict.fromkeys(("tool_calls", "tool_use", "function_call", "tool_call"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "max_length", "max_output_tokens", "max_new_tokens"), "length"),
    **dict.fromkeys(("truncated", "incomplete", "max_turns", "model_length"), "length"),
    **dict.fromkeys(("content_filter", "abort", "aborted", "cancelled", "error", "safety", "failed"), "abort"),
}
"""A turn that calls a tool has ended by itself. A response that a filter cut was neither finished nor too long."""


def finish_reason(value: object) -> FinishReason | None:
    """The finish reason of the contract; None where the source says nothing.

    Raises:
        DroppedRow: it is unknown.
    """
    if value is None or value == "":
        return None
    reason = REASONS.get(value.strip().lower()) if isinstance(value, str) else None
    if reason is None:
        raise DroppedRow(f"finish reason {value!r:.40} is unknown; known are {', '.join(REASONS)}")
    return reason
