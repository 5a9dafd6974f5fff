"""A trace of a few steps, for chrome://tracing or Perfetto."""

from pathlib import Path
from types import TracebackType

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from grao_pipeline.training.model.distributed import Ranks

PROFILED_STEPS = 3


class Profile:
    """While it is entered, records the second to fourth step of this run.

    It writes `OUT/profile/trace.json`, or `trace-RANK.json` where there are several ranks.

    Args:
        num_steps: of this run; a single step is recorded itself.
    """

    def __init__(self, out: Path, num_steps: int, ranks: Ranks) -> None:
        self._path = out / "profile" / (f"trace-{ranks.rank}.json" if ranks.size > 1 else "trace.json")
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
        self._profile = profile(
            activities=activities,
            schedule=schedule(wait=0, warmup=1, active=PROFILED_STEPS, repeat=1) if num_steps > 1 else None,
            on_trace_ready=self._write,
        )

    def __enter__(self) -> None:
        self._profile.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._profile.stop()

    def step(self) -> None:
        """Call after every step."""
        self._profile.step()

    def _write(self, finished: profile) -> None:
        self._path.parent.mkdir(exist_ok=True)
        finished.export_chrome_trace(str(self._path))
