"""What is known of every row of the tables of a training, found out in one pass that keeps no tokens.

| column | meaning |
|---|---|
| table, part, row | where the row is: number of its pair of tables, of the part, and within it |
| round, policy | of the group |
| is_trained | it has a sequence with an advantage and at least one token |
| has_reference | its reference is trained on |
| has_logprobs | it has a sample to train on, with the log-probs of the policy that sampled |
| may_lack_rewards, may_lack_sampling_logprobs | a sample lacks it, perhaps one that is not trained on |
| lowest, highest | of all token IDs |
| longest | tokens of the prompt and its longest continuation |
| is_odd | what is stored of the samples does not go together, or the prompt is empty |
"""

from collections.abc import Mapping

import numpy as np
import polars as pl

from grao_pipeline.errors import InputError
from grao_pipeline.storage.reader import TableReader
from grao_pipeline.storage.table_pair import TablePair
from grao_pipeline.training.data.tables import ADVANTAGE_COLUMNS, GROUP_COLUMNS, samples_from_unknown


def scan(number: int, pair: TablePair, logprobs: Mapping[str, TableReader]) -> pl.DataFrame:
    """The rows of a groups table and its advantages, in order.

    Args:
        number: of the pair.
        logprobs: of these groups under other models; only that they are of the same groups is checked.

    Raises:
        MismatchError: the tables do not hold the same groups.
        InputError: there are groups, but no token in any of them.
    """
    pair.companion.refuse_other_groups(pair.groups)
    is_unknown = samples_from_unknown(pair.groups.provenance)
    known = []
    has_tokens = not pair.groups.num_rows
    for parts in list(pair.groups.batches()) or [range(0)]:  # of an empty table the columns
        groups = pair.groups.frame(parts, GROUP_COLUMNS)
        ids = groups["group_id"]
        advantages = pair.companion.aligned_frame(pair.groups, ids, parts, ADVANTAGE_COLUMNS)
        for reader in logprobs.values():
            reader.aligned_frame(pair.groups, ids, parts, ["group_id"])
        sizes = [pair.groups.manifest.parts[index].rows for index in parts]
        place = {
            "table": np.full(len(groups), number, np.int32),
            "part": np.repeat(np.array(parts, np.int32), sizes),
            "row": np.concatenate([np.arange(size, dtype=np.int32) for size in [*sizes, 0]]),
        }
        rows = pl.DataFrame(place).hstack(_facts(groups.hstack(advantages.drop("group_id")), is_unknown))
        has_tokens |= bool(rows["num_sampled"].sum())
        known.append(rows.drop("num_sampled"))
    if not has_tokens:
        raise InputError(
            f"{pair.groups.url} has texts but no token ids, so it cannot be trained on. "
            "Import it again with --tokenizer MODEL."
        )
    return pl.concat(known)


def _facts(rows: pl.DataFrame, is_unknown: bool) -> pl.DataFrame:
    """Args: is_unknown: the groups do not store what their samples were sampled from."""
    element, prompt, reference = pl.element(), pl.col("prompt_token_ids"), pl.col("reference_token_ids")
    ids, sampling = pl.col("completion_token_ids"), pl.col("completion_behavior_logprobs")
    rows = rows.with_columns(lengths=ids.list.eval(element.list.len())).with_row_index("number")
    fits = (pl.col("advantages").list.len() == ids.list.len()).fill_null(False)
    aligned = rows.filter(fits)
    samples = aligned.select("number", "advantages", "lengths").explode("advantages", "lengths")
    trained = samples.filter(pl.col("advantages").is_not_null() & (pl.col("lengths") > 0))["number"]
    weights = aligned.filter(pl.col("token_weights").is_not_null())
    weights = weights.select("number", "lengths", weights=pl.col("token_weights").list.eval(element.list.len()))
    wrong = weights.explode("lengths", "weights").filter(pl.col("lengths") != pl.col("weights"))["number"]
    has_sample = pl.col("number").is_in(trained.unique().implode()) | ~fits
    has_reference = pl.col("reference_advantage").is_not_null() & (reference.list.len() > 0).fill_null(False)
    continuation = pl.max_horizontal(pl.col("lengths").list.max(), reference.list.len())
    return rows.select(
        pl.col("round"),
        pl.col("policy").cast(pl.Categorical),
        (has_sample | has_reference).alias("is_trained"),
        has_reference.alias("has_reference"),
        (has_sample & pl.col("completion_logprobs").is_not_null()).alias("has_logprobs"),
        pl.col("rewards").list.eval(element.is_null()).list.any().fill_null(True).alias("may_lack_rewards"),
        (pl.lit(is_unknown) | sampling.list.eval(element.is_null()).list.any().fill_null(False)).alias(
            "may_lack_sampling_logprobs"
        ),
        lowest=pl.min_horizontal(
            prompt.list.min(), reference.list.min(), ids.list.eval(element.list.min()).list.min()
        ).cast(pl.Int64),
        highest=pl.max_horizontal(
            prompt.list.max(), reference.list.max(), ids.list.eval(element.list.max()).list.max()
        ).cast(pl.Int64),
        longest=(prompt.list.len() + continuation.fill_null(0)).cast(pl.Int64),
        is_odd=~fits | (prompt.list.len() == 0) | pl.col("number").is_in(wrong.unique().implode()),
        num_sampled=pl.col("lengths").list.sum().cast(pl.Int64),
    )
