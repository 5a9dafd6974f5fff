"""A scripted judge, and a real one: a tiny random model in vLLM, opened once."""

from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from grao_pipeline.arguments import parse_arguments
from grao_pipeline.scoring.judges.base import ChatModel, ChatModelOptions, Question, Reply
from grao_pipeline.scoring.judges.vllm import VllmChatModel
from tests import tiny
from tests.scoring.judges.common import JudgeServer, judge_server

POSITIONS = 8192
SMALL = {"vllm.max_num_seqs": "8", "vllm.kv_cache_memory_bytes": str(64 << 20)}


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judge_server() as running:
        yield running


@pytest.fixture(scope="session")
def judge_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model that reads as much as a judge must: 8,192 tokens, most of which are a letter or two."""
    path = tmp_path_factory.mktemp("judge") / "model"
    tokenizer = tiny.make_tokenizer(path)
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "max_position_embeddings": POSITIONS}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    config = Qwen2Config(vocab_size=len(tokenizer), initializer_range=0.5, **shape, **heads, **ids)
    Qwen2ForCausalLM(config).save_pretrained(str(path))
    return path


def open_vllm(model: Path, **given: str) -> VllmChatModel:
    """A judge's engine in this process; a reply has room for 64 tokens."""
    arguments = parse_arguments(VllmChatModel.Arguments, {"model": str(model), **given}, "engine 'vllm'", "reward_arg")
    return VllmChatModel(arguments, ChatModelOptions(64, "cpu"))


class SharedVllm(ChatModel):
    """The one real engine of the session, for rewards that would open one each."""

    engine: ClassVar[VllmChatModel]

    def identity(self) -> Mapping[str, Any]:
        return self.engine.identity()

    def neutralize(self, text: str) -> str:
        return self.engine.neutralize(text)

    def ask(self, questions: Iterable[Question]) -> Generator[tuple[int, Reply], None, None]:
        return self.engine.ask(questions)


@pytest.fixture(scope="module")
def vllm_judge(judge_model: Path) -> Iterator[VllmChatModel]:
    """Real vLLM, in this process: it ends with its module, since its process groups would be in the way of others."""
    SharedVllm.engine = open_vllm(judge_model, **SMALL)
    yield SharedVllm.engine
    SharedVllm.engine.close()
