"""`vllm.LLM` in this process, for whatever is asked of it: opened, watched, closed, its troubles in plain words."""

import json
import os
import subprocess
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError

from grao_pipeline.errors import InputError, StageFailure, UsageError
from grao_pipeline.models.process_guard import dismiss, guarded_children
from grao_pipeline.plugins import require

# On CPU, vLLM 0.32 crashes when a seeded request's prefill is split, spends half a minute compiling what a CPU run
# rarely earns back, and wants 92 % of the memory for its cache.
CPU_DEFAULTS = {
    "enforce_eager": True,
    "enable_chunked_prefill": False,
    "kv_cache_memory_bytes": 1 << 30,
}
CPU_MIN_BATCHED_TOKENS = 4096
WATCH_SECONDS = 0.5


def open_llm(
    arguments: Mapping[str, Any], given: Collection[str], option: str, name: str, device: str
) -> tuple[Any, subprocess.Popen[bytes]]:
    """The engine, and the guard that ends what it started when this process ends. End both with `close_llm`.

    Args:
        arguments: of `vllm.LLM`, defaults for a CPU included (`cpu_defaults`).
        given: those that the user gave, through the option that is called `option`.
        name: the model's, for messages.

    Raises:
        UsageError: vLLM refuses an argument.
        InputError: vLLM cannot load the model.
    """
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if device == "cpu":
        os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
    vllm = require("vllm")
    try:
        with guarded_children() as guard:
            return vllm.LLM(**arguments), guard
    except TypeError as error:
        raise UsageError(f"{option}: vLLM refuses an argument: {error}") from error
    except ValidationError as error:
        reasons = "; ".join(_reason(detail) for detail in error.errors())
        if any(detail["loc"] and detail["loc"][-1] in given for detail in error.errors()):
            raise UsageError(f"{option}: vLLM refuses an argument: {reasons}") from error
        raise InputError(f"vLLM cannot load {name}: {reasons}") from error
    except (ValueError, OSError, RuntimeError, MemoryError, SafetensorError) as error:
        raise InputError(f"vLLM cannot load {name}: {_last_line(error)}") from error


def close_llm(llm: Any, guard: subprocess.Popen[bytes]) -> None:
    """Free the device."""
    llm.llm_engine.engine_core.shutdown()
    dismiss(guard)


def cpu_defaults(context_length: int) -> dict[str, Any]:
    """Arguments that a model with such a context needs on CPU."""
    return CPU_DEFAULTS | {"max_num_batched_tokens": max(context_length, CPU_MIN_BATCHED_TOKENS)}


def parse_value(value: str) -> Any:
    """The value of a free `key=value` argument: JSON where it is JSON."""
    try:
        return json.loads(value)
    except ValueError:
        return value


@contextmanager
def death_as_failure(engine: str, remedy: str) -> Iterator[None]:
    """Raises StageFailure where the engine's process dies in the block.

    Args:
        engine: what died, e.g. `The vLLM engine`.
        remedy: what the user can do, a clause.
    """
    errors = require("vllm.v1.engine.exceptions")
    try:
        yield
    except errors.EngineDeadError as error:
        raise StageFailure(
            f"{engine} died (out of memory, or killed). Committed parts are safe: run the command again, {remedy}."
        ) from error


class DeathWatch:
    """Wakes a `step()` that waits for an engine process that was killed; vLLM's sync client would wait for ever."""

    def __init__(self, engine: Any) -> None:
        self._core = engine.engine_core
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="grao-vllm-death-watch", daemon=True)

    def __enter__(self) -> None:
        if hasattr(self._core, "resources") and hasattr(self._core, "outputs_queue"):
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        errors = require("vllm.v1.engine.exceptions")
        while not self._done.wait(WATCH_SECONDS):
            if self._core.resources.engine_dead:
                self._core.outputs_queue.put_nowait(errors.EngineDeadError())
                return


def _reason(detail: Any) -> str:
    """What pydantic says of one value, without its trailer."""
    return f"{'.'.join(str(part) for part in detail['loc'])}: {detail['msg']}".removeprefix(": ")


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else repr(error)
