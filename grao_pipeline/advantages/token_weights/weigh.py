"""Factors, or advantages, of tokens → the columns `advantages` and `token_weights` of the advantages table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from grao_pipeline.advantages.columns import load_functions
from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.advantages.token_weights import TOKEN_WEIGHTS
from grao_pipeline.advantages.token_weights.tokens import Tokens
from grao_pipeline.arguments import PluginArguments
from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.own_code import own_code
from grao_pipeline.schemas import ADVANTAGES

GROUP_COLUMNS = ["group_id", "completion_token_ids", "completion_logprobs", "completion_token_ends"]
STEP_COLUMNS = ["group_id", "steps"]
TOKEN_ADVANTAGES = "token_advantages"
"""Detail of a table's provenance: the tokens of a sample have advantages of different signs."""


@dataclass(frozen=True)
class TokenFunction:
    """A token-weight function with its arguments."""

    name: str
    function: Callable[..., np.ndarray]
    arguments: PluginArguments

    @property
    def gives_advantages(self) -> bool:
        return getattr(self.function, "gives", "factors") == "advantages"

    @property
    def reads_steps_of(self) -> str | None:
        """The name of the feature whose steps it reads."""
        return str(dict(self.arguments)["scores"]) if getattr(self.function, "reads_steps", False) else None

    def __call__(self, tokens: Tokens) -> np.ndarray:
        with own_code(f"Token weights '{self.name}'", self.function):
            values = np.asarray(self.function(tokens, **dict(self.arguments)), dtype=np.float64)
            if values.shape != tokens.ids.shape:
                raise StageFailure(
                    f"Token weights '{self.name}' returned an array of shape {values.shape}; the part has "
                    f"{len(tokens.ids)} tokens, and each needs one value."
                )
            return values


def load_token_functions(options: AdvantagesOptions) -> tuple[TokenFunction, ...]:
    """The functions that the options name, in order.

    Raises:
        UsageError: a name or argument is unknown or wrong, or two functions give advantages.
    """
    loaded = load_functions(
        "token_weight", options.token_weights, options.token_weights_arg, TOKEN_WEIGHTS, ("tokens",), "token_weights"
    )
    functions = tuple(TokenFunction(name, function, arguments) for name, (function, arguments) in loaded.items())
    giving = [function.name for function in functions if function.gives_advantages]
    if len(giving) > 1:
        raise UsageError(f"{' and '.join(giving)} both give advantages of tokens; choose one.", option="token_weights")
    return functions


def weighed(
    advantages: pa.Table, groups: pa.Table, scores: Mapping[str, pa.Table], functions: Sequence[TokenFunction]
) -> pa.Table:
    """A part of the advantages table with `token_weights`; null for samples that are not trained on.

    Where a function gives advantages Â_{s,t} of tokens, Â_s = max_t |Â_{s,t}| and the weight of a token is its share of
    that: Â_{s,t} / Â_s. All zero: Â_s = 0, and the weights are 1.

    Args:
        groups: the same part, with `GROUP_COLUMNS`.
        scores: the same part of the features with steps, with `STEP_COLUMNS`.
    """
    tokens = Tokens.of(groups, advantages, scores)
    weights = np.ones(len(tokens.ids))
    of_sample = tokens.advantage
    for function in functions:
        values = function(tokens)
        if function.gives_advantages:
            of_sample, values = _split(tokens, values)
        weights *= values
    not_finite = ~np.isfinite(weights) & ~np.isnan(of_sample[tokens.sample])
    if not_finite.any():
        raise StageFailure(
            f"Token weights {', '.join(f.name for f in functions)}: a weight is {weights[not_finite][0]}."
        )
    bounds = np.cumsum([0, *tokens.length])
    per_sample = [
        None if np.isnan(of_sample[number]) else weights[start:end].tolist()
        for number, (start, end) in enumerate(pairwise(bounds))
    ]
    sizes = np.bincount(tokens.group, minlength=len(groups))
    offsets = pa.array(np.cumsum([0, *sizes]), pa.int32())
    columns = {
        "advantages": pa.array(of_sample, pa.float32(), mask=np.isnan(of_sample)),
        "token_weights": pa.array(per_sample, pa.list_(pa.float32())),
    }
    advantages = advantages.drop_columns([name for name in columns if name in advantages.column_names])
    for name, values in columns.items():
        advantages = advantages.append_column(name, pa.ListArray.from_arrays(offsets, values))
    return advantages.select([column.name for column in ADVANTAGES.columns if column.name in advantages.column_names])


def _split(tokens: Tokens, advantages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Advantages of tokens [N] → those of samples [S], NaN where one is not trained on, and the shares of these [N]."""
    of_sample = np.zeros(len(tokens.length))
    np.maximum.at(of_sample, tokens.sample, np.abs(np.nan_to_num(advantages)))
    largest = of_sample[tokens.sample]
    shares = np.where(largest > 0, advantages / np.where(largest > 0, largest, 1.0), 1.0)
    return np.where(np.isnan(tokens.advantage), np.nan, of_sample), shares
