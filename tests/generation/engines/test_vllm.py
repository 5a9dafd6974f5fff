"""Real vLLM: the arguments that reach it, and the messages of those that it refuses."""

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch

from grao_pipeline.errors import InputError
from grao_pipeline.generation.engines.base import Engine, EngineOptions, Request, Sampling
from grao_pipeline.generation.engines.vllm import VllmArguments, VllmEngine
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.generation.common import prompts_of_lengths

pytestmark = pytest.mark.vllm


def test_arguments_precision_and_context_reach_vllm(model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    import vllm

    configs = []

    class Recorded(vllm.LLM):  # type: ignore[misc]
        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            config = self.llm_engine.vllm_config
            configs.append((config.scheduler_config.max_num_seqs, config.model_config.dtype))

    monkeypatch.setattr(vllm, "LLM", Recorded)
    prompts = prompts_of_lengths(tmp_path / "prompts", [20, 30, 97, 98, 99])
    options = ["--engine", "vllm", "--samples", 4, "--max-new-tokens", 5, "--dtype", "bfloat16", "--max-model-len", 99]
    command = ("generate", prompts, tmp_path / "out", "--model", model, *options)
    summary = tiny.grao_json(*command, "--engine-arg", "max_num_seqs=3")
    assert configs == [(3, torch.bfloat16)]
    rows = open_table(str(tmp_path / "out"), "groups").arrow().to_pylist()
    longest = [max(len(ids) for ids in row["completion_token_ids"]) for row in rows]
    assert longest == [5, 5, 2, 1, 0]  # 99 positions; the last prompt fills them
    assert (summary["samples"], summary["prompts_clipped"], summary["prompts_too_long"]) == (20, 2, 1)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("max_num_sequences=3", "max_num_sequences"),
        ("max_num_seqs=0", "max_num_seqs=0: input should be greater than or equal to 1"),
        ("max_num_seqs=many", "max_num_seqs=many: input should be a valid integer"),
        ("max_num_seqs", "'max_num_seqs': expected key=value"),
        ("model=elsewhere", "'model' cannot be set here. Use --model"),
        ("dtype=float16", "'dtype' cannot be set here. Use --dtype"),
        ("max_model_len=10", "Use --max-model-len"),
        ("block_size=odd", "block_size: Input should be"),
        ("logprobs_mode=processed_logprobs", "'logprobs_mode' cannot be set here. The table's content depends on it"),
    ],
)
def test_an_argument_that_vllm_or_the_contract_refuses_is_wrong_usage(
    argument: str, message: str, model: Path, prompts: str, tmp_path: Path
) -> None:
    result = tiny.grao("generate", prompts, tmp_path, "--model", model, "--engine", "vllm", "--engine-arg", argument)
    assert result.exit_code == 2
    assert message in result.stderr
    assert isinstance(result.exception, SystemExit)  # an error of ours, not a traceback
    assert list(tmp_path.iterdir()) == []


def test_weights_that_cannot_be_loaded_are_an_input_error(model: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((model / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(InputError, match=f"vLLM cannot load {tmp_path}: .*incomplete"):
        VllmEngine(EngineOptions(str(tmp_path), "float32", 256, "cpu", 8), VllmArguments())
    assert not torch.distributed.is_initialized()  # else a sharded training could not begin in this process


def test_samples_do_not_depend_on_other_requests_in_flight(vllm_engine: Engine) -> None:
    sampling = Sampling(1.0, 0.9, 12, (2,))
    requests = [Request((0, i), [30 + i] * (1 + 5 * i), 3, 1000 * i, 12) for i in range(6)]
    together = {g.key: [s.token_ids for s in g.samples] for g in chain(*vllm_engine.generate([requests], sampling))}
    for request in requests:
        [alone] = next(iter(vllm_engine.generate([[request]], sampling)))
        assert [sample.token_ids for sample in alone.samples] == together[request.key]


def test_requests_are_read_as_there_is_room_for_them(vllm_engine: Engine) -> None:
    """64 sequences run at once and as many more wait: of 400 requests of 8 samples, only some are read at first."""
    num_read = 0

    def parts() -> Any:
        nonlocal num_read
        for part in range(400):
            num_read += 1
            yield [Request((part, 0), [5, 6, 7], 8, 1000 * part, 1)]

    stream = vllm_engine.generate(parts(), Sampling(1.0, 1.0, 1, (2,)))
    first = next(iter(stream))
    assert num_read <= 2 * 64 // 8 + 1
    assert len(list(chain(first, *stream))) == 400
