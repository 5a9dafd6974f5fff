"""A trace of a few steps, for chrome://tracing or Perfetto."""

from pathlib import Path
from types import TracebackType

import torch
from torch.profiler import ProfilerActivity, profile, schedule

PROFILED_STEPS = 3


class Profile:
    """While it is entered, records the second to fourth step of this run to `OUT/profile/trace.json`.

    Args:
        num_steps: of this run; of a single one, that one is recorded.
    """

    def __init__(self, out: Path, num_steps: int) -> None:
        self._out = out / "profile"
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
        """Say that a step is done."""
        self._profile.step()

    def _write(self, made: profile) -> None:
        self._out.mkdir(exist_ok=True)
        made.export_chrome_trace(str(self._out / "trace.json"))
