"""The real engines, whose starts are counted in the file that ENGINE_STARTS names; a reward that may kill; and an
objective that may kill its rank."""

import os
import signal
from pathlib import Path

from grao_pipeline.arguments import NoArguments
from grao_pipeline.generation.engines.base import EngineOptions
from grao_pipeline.generation.engines.transformers import TransformersEngine
from grao_pipeline.generation.engines.vllm import VllmArguments, VllmEngine
from grao_pipeline.training.objectives.base import ObjectiveInputs, ObjectiveOutputs
from grao_pipeline.training.objectives.grao import Grao


class CountedTransformers(TransformersEngine):
    """Counts its starts."""

    def __init__(self, options: EngineOptions, arguments: NoArguments) -> None:
        _count_start()
        super().__init__(options, arguments)


class CountedVllm(VllmEngine):
    """Counts its starts."""

    def __init__(self, options: EngineOptions, arguments: VllmArguments) -> None:
        _count_start()
        super().__init__(options, arguments)


def _count_start() -> None:
    with Path(os.environ["ENGINE_STARTS"]).open("a") as file:
        file.write(f"{os.getpid()}\n")


def take_starts() -> int:
    """How many engines were started since the last call."""
    path = Path(os.environ["ENGINE_STARTS"])
    starts = len(path.read_text().split()) if path.exists() else 0
    path.unlink(missing_ok=True)
    return starts


def deadly_length(completions: list[str]) -> list[float]:
    """The number of characters. The call at which the number in the file DEADLY_CALL is 1 kills its process."""
    path = Path(os.environ["DEADLY_CALL"])
    left = int(path.read_text())
    path.write_text(str(left - 1))
    if left == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return [float(len(completion)) for completion in completions]


class DeadlyGrao(Grao):
    """GRAO. Each call writes the process's ID to a file of its rank below OBJECTIVE_PROCESSES. The second rank kills
    itself at the call whose number DEADLY_CALL holds."""

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        rank = os.environ["RANK"]
        path = Path(os.environ["OBJECTIVE_PROCESSES"], rank)
        with path.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if rank == "1" and len(path.read_text().split()) == int(os.environ["DEADLY_CALL"]):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(inputs)
