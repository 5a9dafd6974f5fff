"""What `benchmarks.train` trains on: models, groups of random tokens, and the settings that have names."""

import random
from dataclasses import dataclass
from typing import Any

import torch

from grao_pipeline.training.data.sequences import TrainingGroup, TrainingSequence


@dataclass(frozen=True)
class Setting:
    """Shapes of a step's groups: prompt and completion lengths are drawn between the two numbers."""

    groups: int
    samples: int
    prompt: tuple[int, int]
    completion: tuple[int, int]

    @property
    def group_rows(self) -> int:
        """Sequences of a group: its samples and a reference."""
        return self.samples + 1

    @property
    def rows(self) -> int:
        return self.groups * self.group_rows

    @property
    def group_tokens(self) -> int:
        """Of the longest group, its prompt once."""
        return self.prompt[1] + self.group_rows * self.completion[1]


SETTINGS = {
    "equal": Setting(4, 8, (256, 256), (128, 128)),
    "ragged": Setting(4, 8, (64, 512), (16, 256)),
    "long": Setting(4, 8, (1024, 1024), (64, 64)),
    "groups-of-4": Setting(8, 4, (256, 256), (128, 128)),
    "groups-of-32": Setting(1, 32, (256, 256), (128, 128)),
    "two-groups": Setting(2, 8, (256, 256), (128, 128)),
    "eight-groups": Setting(8, 8, (256, 256), (128, 128)),
}


@dataclass(frozen=True)
class Shape:
    """Of a Qwen2-style model."""

    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    vocab_size: int


MODELS = {
    "tiny": Shape(64, 2, 2, 128, 512),
    "25m": Shape(384, 8, 6, 1024, 32768),
    "0.5b": Shape(896, 24, 14, 4864, 151936),  # Qwen2.5-0.5B and 1.5B
    "1.5b": Shape(1536, 28, 12, 8960, 151936),
}


@dataclass(frozen=True)
class Run:
    """What all sides have in common."""

    setting: Setting
    shape: Shape
    bf16: bool
    device: str
    threads: int

    def groups(self, seed: int) -> list[TrainingGroup]:
        return make_groups(self.setting, self.shape.vocab_size, seed)


def make_groups(setting: Setting, vocab_size: int, seed: int) -> list[TrainingGroup]:
    """A step's groups of random tokens, each with a reference."""
    rng = random.Random(seed)
    groups = []
    for number in range(setting.groups):
        prompt = rng.choices(range(10, vocab_size), k=rng.randint(*setting.prompt))
        values = [rng.gauss(0, 1) for _ in range(setting.samples)]
        mean = sum(values) / len(values)
        sequences = [
            TrainingSequence(
                prompt_token_ids=prompt,
                token_ids=rng.choices(range(10, vocab_size), k=rng.randint(*setting.completion)),
                advantage=value,
                is_reference=index == setting.samples,
                group_size=setting.samples,
                group_mean_advantage=mean,
                group_has_reference=True,
                reward=None,
                behavior_logprobs=None,
            )
            for index, value in enumerate([*values, 1.0])
        ]
        groups.append(TrainingGroup(str(number), sequences))
    return groups


def make_model(shape: Shape, device: str) -> Any:
    """A random Qwen2-style model with tied embeddings."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
    )
    with torch.device(device):
        return Qwen2ForCausalLM(config)
