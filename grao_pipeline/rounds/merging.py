"""What a round makes of its trained model: moved on from an earlier one, or averaged with it."""

from grao_pipeline.errors import UsageError
from grao_pipeline.rounds.tasks import Output
from grao_pipeline.rounds.wiring import NOT_TRAINED, RoundState, Wiring, changed
from grao_pipeline.stage import Stage
from grao_pipeline.training.merging.options import MergeOptions, WeightedModel
from grao_pipeline.training.options import TrainOptions


def merge(wiring: Wiring, stage: Stage, state: RoundState) -> None:
    """Continue from the trained model merged with an earlier one.

    `momentum`: the model that the round before trained, in round 0 the base. `average`: the model that the round
    started from, which is the average so far.

    Raises:
        UsageError: the rounds train an adapter, or carry the optimizer's state.
    """
    settings = state.plan.only(stage.name)
    if settings is None:
        return
    assert isinstance(settings.options, MergeOptions)
    train_options = state.plan.stages["train"][0].options
    assert isinstance(train_options, TrainOptions)
    if train_options.save_adapter or train_options.carry_optimizer:
        what = "an adapter (save_adapter)" if train_options.save_adapter else "the optimizer's state (carry_optimizer)"
        message = f"the rounds keep {what}, and only whole models are merged. Leave one of the two out."
        raise UsageError(settings.source.render(message))
    earlier = state.start
    if settings.options.momentum is not None and state.earlier:
        earlier = state.earlier[-1].trained_model
    pair = [output for output in (state.trained_model, earlier) if output is not None]
    models = [WeightedModel(model=_place(output)) for output in pair]
    name = f"{state.prefix}{stage.name}"
    state.latest["model"] = wiring.tasks.make(name, stage, [], changed(settings, models=models), pair)


def _place(output: Output) -> str:
    return output.place or NOT_TRAINED
