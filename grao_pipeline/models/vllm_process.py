"""Start, watch and close a `vllm.LLM`, and translate its errors."""

import os
import subprocess
import threading
import time
import weakref
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from safetensors import SafetensorError

from grao_pipeline.environment import environment
from grao_pipeline.errors import InputError, StageFailure, UsageError
from grao_pipeline.garbage import keep_imports
from grao_pipeline.models.devices import num_cores
from grao_pipeline.models.process_guard import dismiss, guarded_children
from grao_pipeline.models.stderr_tail import last_error, stderr_remembered
from grao_pipeline.plugins import require
from grao_pipeline.residence import RESIDENCE, Resident

if TYPE_CHECKING:
    from vllm import LLM
    from vllm.v1.engine.core_client import EngineCoreClient
    from vllm.v1.engine.llm_engine import LLMEngine

RESERVED = frozenset(
    {
        *("model", "tokenizer", "runner", "convert", "dtype", "max_model_len", "skip_tokenizer_init"),
        *("generation_config", "logprobs_mode", "pooler_config", "worker_extension_cls"),
    }
)
"""Arguments of `vllm.LLM` that the stages set: what they write depends on them."""
SPEED_ARGUMENTS = frozenset(
    {
        *("block_size", "disable_custom_all_reduce", "disable_log_stats", "enable_prefix_caching", "enforce_eager"),
        *("gpu_memory_utilization", "kv_cache_memory_bytes", "max_num_batched_tokens", "max_num_seqs"),
        *("pipeline_parallel_size", "tensor_parallel_size"),
    }
)
"""Arguments of `vllm.LLM` that change how fast a model is, but not what it computes."""
# On CPU, vLLM 0.32 crashes when a seeded request's prefill is split, spends half a minute on a compilation that rarely
# pays off, and reserves 92 % of the memory for its cache.
CPU_DEFAULTS: dict[str, object] = {
    "enforce_eager": True,
    "enable_chunked_prefill": False,
    "kv_cache_memory_bytes": 1 << 30,
}
CPU_MIN_BATCHED_TOKENS = 4096
WORKER_EXTENSION = "grao_pipeline.models.vllm_worker.WorkerExtension"
"""By name: vLLM imports it, in its own process."""
FEW_CORES = 8
"""Of these, vLLM would leave one idle and bind its threads to the others: the same ones for each of several processes.
On 2 cores it samples 1.3 times as fast with both.
"""
THREAD_BINDING = "VLLM_CPU_OMP_THREADS_BIND"
"""The variable that says to which cores; `nobind`: to none."""
WITHIN_THE_ENGINE = {"distributed_executor_backend": "vllm.v1.executor.uniproc_executor.UniProcExecutor"}
"""The model computes in the process of the engine. On a CPU vLLM starts one more for it, in order to bind its threads:
seconds of imports for nothing where they are not bound. The class by its name, since vLLM changes `uni` back.
"""
IN_PROCESSES = "VLLM_ENABLE_V1_MULTIPROCESSING"
"""The variable that says whether an engine has its own processes; vLLM takes 1 where it is not set."""
WATCH_SECONDS = 0.5
LAST_WORDS_SECONDS = 0.2
"""Until what a process printed before it ended has arrived here."""


def refuse_reserved(given: Collection[str], options: Mapping[str, str], prefix: str = "") -> None:
    """Check free arguments of `vllm.LLM`; made for the validator of an argument model.

    Args:
        given: names of the arguments that the user sets.
        options: the reserved ones that have an option or argument, e.g. `{"dtype": "--dtype"}`.
        prefix: of the names as the user writes them, e.g. `vllm.`.

    Raises:
        ValueError: an argument is reserved.
    """
    if "trust_remote_code" in given:
        raise ValueError(f"'{prefix}trust_remote_code' cannot be set: code of a model directory is never run")
    for name in sorted(RESERVED.union(options).intersection(given)):
        instead = f"Use {options[name]}" if name in options else "The table's content depends on it"
        raise ValueError(f"'{prefix}{name}' cannot be set here. {instead}")


class VllmProcess(Resident):
    """A `vllm.LLM`, and a guard that ends its processes when this process ends. It ends with `close`, or this object.

    Args:
        arguments: of `vllm.LLM`, with the defaults for a CPU (`cpu_defaults`) where the device is one.
        given: names of the arguments that the user set.
        option: the option by which the user set them, e.g. `engine_arg`.
        name: of the model, for messages.
        is_alone: no other one is open in this process. It may compute here then, where that is faster: on a CPU the
            imports of another process take longer than a small model.

    Raises:
        UsageError: vLLM refuses an argument.
        InputError: vLLM cannot load the model.
    """

    def __init__(
        self,
        arguments: Mapping[str, object],
        given: Collection[str],
        option: str,
        name: str,
        device: str,
        is_alone: bool = False,
    ) -> None:
        self._holds_accelerator = device != "cpu"
        if self._holds_accelerator and RESIDENCE.is_open:
            arguments = {"enable_sleep_mode": True, **arguments}
        self._sleeps = False
        self._may_sleep = bool(arguments.get("enable_sleep_mode"))
        computes_here = is_alone and device == "cpu" and _is_undivided(arguments)
        with environment({IN_PROCESSES: os.environ.get(IN_PROCESSES, "0" if computes_here else "1")}):
            self.llm, guard = _open_llm(arguments, given, option, name, device)
        self._close = weakref.finalize(self, _close_llm, self.llm.llm_engine.engine_core, guard)

    def rest(self) -> bool:
        """The weights move to the machine's memory, and the KV cache is dropped (vLLM's sleep mode)."""
        if not self._holds_accelerator or self._sleeps:
            return True
        if self._may_sleep:
            with suppress(Exception):  # where vLLM cannot, it is closed
                self.llm.sleep(level=1)
                self._sleeps = True
        return self._sleeps

    def wake(self) -> None:
        if self._sleeps:
            self.llm.wake_up()
            self._sleeps = False

    def close(self) -> None:
        """End the engine and its guard; frees the device."""
        self._close()


def _open_llm(
    arguments: Mapping[str, object], given: Collection[str], option: str, name: str, device: str
) -> tuple["LLM", subprocess.Popen[bytes]]:
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if device == "cpu":
        os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
        if num_cores() <= FEW_CORES or "OMP_NUM_THREADS" in os.environ:
            os.environ.setdefault(THREAD_BINDING, "nobind")
        if os.environ.get(THREAD_BINDING) == "nobind" and _is_undivided(arguments):
            arguments = {**WITHIN_THE_ENGINE, **arguments}
    vllm = require("vllm")
    try:
        with guarded_children() as guard, stderr_remembered(), _no_groups_after_failure():
            llm_class = vllm.LLM  # imports most of it
            keep_imports()
            return llm_class(worker_extension_cls=WORKER_EXTENSION, **arguments), guard
    except TypeError as error:
        raise UsageError(f"vLLM refuses an argument: {error}", option=option) from error
    except ValidationError as error:
        reasons = "; ".join(_reason(detail) for detail in error.errors())
        if any(detail["loc"] and detail["loc"][-1] in given for detail in error.errors()):
            raise UsageError(f"vLLM refuses an argument: {reasons}", option=option) from error
        raise InputError(f"vLLM cannot load {name}: {reasons}") from error
    except (ValueError, OSError, RuntimeError, MemoryError, SafetensorError) as error:
        raise InputError(f"vLLM cannot load {name}: {last_error() or _last_line(error)}") from error


def _is_undivided(arguments: Mapping[str, object]) -> bool:
    """Whether one process holds the model."""
    return all(arguments.get(name, 1) == 1 for name in ("tensor_parallel_size", "pipeline_parallel_size"))


@contextmanager
def _no_groups_after_failure() -> Iterator[None]:
    """Where vLLM computes in this process and fails in this block, take down the process groups that it made: whatever
    makes its own later, e.g. a training with `--cpu-offload`, could not.
    """
    torch_groups, vllm_groups = require("torch.distributed"), require("vllm.distributed.parallel_state")
    there_before = torch_groups.is_initialized()
    try:
        yield
    except BaseException:
        if torch_groups.is_initialized() and not there_before:
            vllm_groups.destroy_model_parallel()
            vllm_groups.destroy_distributed_environment()
        raise


def _close_llm(engine_core: "EngineCoreClient", guard: subprocess.Popen[bytes]) -> None:
    engine_core.shutdown()
    dismiss(guard)
    keep_imports()  # vLLM has made Python look at them again


def cpu_defaults(context_length: int) -> dict[str, object]:
    """Arguments of `vllm.LLM` that a model with this context length needs on CPU."""
    return CPU_DEFAULTS | {"max_num_batched_tokens": max(context_length, CPU_MIN_BATCHED_TOKENS)}


@contextmanager
def death_as_failure(engine: str, remedy: str) -> Iterator[None]:
    """Turn the death of the engine's process in this block into a StageFailure.

    Args:
        engine: name of the engine for the message, e.g. `The vLLM engine`.
        remedy: what the user can do, a clause that follows `run the command again, `.

    Raises:
        StageFailure: the engine's process died.
    """
    errors = require("vllm.v1.engine.exceptions")
    try:
        yield
    except errors.EngineDeadError as error:
        time.sleep(LAST_WORDS_SECONDS)
        reason = last_error()
        if reason is not None and "memory" not in reason.lower():
            raise StageFailure(
                f"{engine} died: {reason.rstrip('.')}. Committed parts are safe: mend this and run the command again."
            ) from error
        raise StageFailure(
            f"{engine} died ({reason or 'out of memory, or killed'}). Committed parts are safe: run the command again, "
            f"{remedy}."
        ) from error


class DeathWatch:
    """While it is entered, wakes a `step()` that waits for an engine process that was killed. Without it, vLLM's
    synchronous client never returns.
    """

    def __init__(self, engine: "LLMEngine") -> None:
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


def _reason(detail: ErrorDetails) -> str:
    """One of pydantic's errors on one line, without the link to its documentation."""
    return f"{'.'.join(str(part) for part in detail['loc'])}: {detail['msg']}".removeprefix(": ")


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else repr(error)
