"""What a training starts from: tables and model, and whether they belong together."""

from dataclasses import dataclass

from grao_pipeline.config import TrainOptions
from grao_pipeline.errors import InputError, MismatchError
from grao_pipeline.models import ModelSource, load_config
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import TableReader, open_table
from grao_pipeline.training.data import TrainingSet
from grao_pipeline.training.provenance import train_provenance


@dataclass(frozen=True)
class TrainingInputs:
    """Two tables, a model, and the identity of the work that they stand for."""

    groups: TableReader
    advantages: TableReader
    source: ModelSource
    provenance: Provenance


def open_inputs(groups_url: str, advantages_url: str, options: TrainOptions, source: ModelSource) -> TrainingInputs:
    """Open the tables.

    Raises:
        InputError: one of them is not usable.
    """
    groups, advantages = open_table(groups_url, "groups"), open_table(advantages_url, "advantages")
    provenance = train_provenance(options, groups.fingerprint, advantages.fingerprint, source)
    return TrainingInputs(groups, advantages, source, provenance)


def load_data(inputs: TrainingInputs, options: TrainOptions) -> TrainingSet:
    """Read the groups that are to be trained on.

    Raises:
        InputError: there is nothing to train on, or it does not fit the model.
        MismatchError: groups, advantages and model do not belong together.
    """
    data = TrainingSet(inputs.groups, inputs.advantages, options.max_rounds_behind)
    groups, source = inputs.groups, inputs.source
    if data.num_groups and not data.has_tokens:
        raise InputError(
            f"{groups.url} has texts but no token ids, so it cannot be trained on. "
            "Import it again with --tokenizer MODEL."
        )
    if not len(data):
        raise InputError(
            f"Nothing to train on: no group of {groups.url} has an advantage (all of zero variance, or unscored)."
        )
    others = sorted(data.policies - {source.fingerprint})
    if others and not options.allow_off_policy:
        raise MismatchError(
            f"{groups.url} was sampled by policy {others[0]}, but --model {options.model} is {source.fingerprint}. "
            "Train the model that sampled, or pass --allow-off-policy."
        )
    config = load_config(source).get_text_config()
    data.check_fits(int(config.vocab_size), getattr(config, "max_position_embeddings", None))
    return data
