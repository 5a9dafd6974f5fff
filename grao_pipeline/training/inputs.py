"""The inputs of a training, tables and model, and the checks that they belong together."""

from dataclasses import dataclass, field, replace

from grao_pipeline.errors import InputError, MismatchError
from grao_pipeline.models.source import ModelSource, load_config
from grao_pipeline.storage.input_content import input_content
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import TableReader, open_table
from grao_pipeline.storage.table_pair import TablePair
from grao_pipeline.training.data.groups import TrainingSet
from grao_pipeline.training.data.tables import open_pairs
from grao_pipeline.training.logprobs.planning import logprobs_urls
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.provenance import train_provenance


@dataclass(frozen=True)
class TrainingInputs:
    """The opened inputs of a training, and its identity."""

    pairs: list[TablePair]
    """The main tables, then the replayed ones."""
    source: ModelSource
    provenance: Provenance
    logprobs: list[tuple[str, TableReader]] = field(default_factory=list)
    """By name, log-probs of the groups under other models."""

    @property
    def groups(self) -> TableReader:
        """The main groups table."""
        return self.pairs[0].groups


def open_inputs(groups_url: str, advantages_url: str, options: TrainOptions, source: ModelSource) -> TrainingInputs:
    """Open the tables, those of `options.replay` included.

    Raises:
        InputError: a table is not usable.
        UsageError: a table is given twice.
    """
    pairs = open_pairs(groups_url, advantages_url, options.replay)
    main, *replayed = (pair.fingerprints for pair in pairs)
    logprobs = [(name, open_table(url, "logprobs")) for name, url in logprobs_urls(options.logprobs)]
    named = [(name, reader.fingerprint) for name, reader in logprobs]
    provenance = train_provenance(options, *main, source, replayed, named)
    details = provenance.details | input_content(pair.companion for pair in pairs)
    return TrainingInputs(pairs, source, replace(provenance, details=details), logprobs)


def load_data(inputs: TrainingInputs, options: TrainOptions) -> TrainingSet:
    """Read the groups that are to be trained on.

    Raises:
        InputError: there is nothing to train on, or it does not fit the model.
        MismatchError: groups, advantages and model do not belong together.
    """
    source = inputs.source
    (groups, advantages), *replay = ((pair.groups, pair.companion) for pair in inputs.pairs)
    data = TrainingSet(groups, advantages, options.max_rounds_behind, replay, inputs.logprobs)
    if not len(data):
        urls = ", ".join(pair.groups.url for pair in inputs.pairs)
        raise InputError(
            f"Nothing to train on: no group of {urls} has an advantage. All have equal rewards or none, or are masked "
            "by the filters of grao advantages."
        )
    if not options.allow_off_policy:
        _refuse_other_policies(inputs, data, options)
    config = load_config(source).get_text_config()
    data.check_fits(int(config.vocab_size), getattr(config, "max_position_embeddings", None))
    return data


def _refuse_other_policies(inputs: TrainingInputs, data: TrainingSet, options: TrainOptions) -> None:
    urls = {pair.groups.fingerprint: pair.groups.url for pair in inputs.pairs}
    for origin in data.origins:
        if origin.policy != inputs.source.fingerprint:
            raise MismatchError(
                f"{urls[origin.groups_table]} was sampled by policy {origin.policy}, but --model {options.model} is "
                f"{inputs.source.fingerprint}. Train the model that sampled, or pass --allow-off-policy."
            )
