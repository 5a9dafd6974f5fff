"""TRL trains on the exports, and its own log of completions makes the round trip through every stage."""

from pathlib import Path
from typing import Any

import pytest

from tests import tiny

QUESTIONS = ["Say the number 1.", "Say the number 2."]
SMALL = {"max_steps": 1, "per_device_train_batch_size": 2, "report_to": [], "use_cpu": True, "save_strategy": "no"}
"""Arguments of every trainer of TRL."""


def letters(completions: list[list[dict[str, str]]], **_: object) -> list[float]:
    """A reward function of TRL: the number of different characters."""
    return [float(len(set(completion[0]["content"]))) for completion in completions]


def loaded(model: Path) -> tuple[Any, Any]:
    import transformers

    return (
        transformers.AutoModelForCausalLM.from_pretrained(model, dtype="float32"),
        transformers.AutoTokenizer.from_pretrained(model),
    )


def moved(model: Path, trainer: Any) -> bool:
    """Whether a training changed the weights."""
    before, _ = loaded(model)
    stored = dict(before.named_parameters())
    return any(not value.equal(stored[name].data) for name, value in trainer.model.named_parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # TRL's about the version of vLLM, which it does not use here
def test_completions_of_trl_go_through_the_stages_and_back_to_trl(model: Path, tmp_path: Path) -> None:
    """GRPOTrainer writes a log; import, score, advantages, export; the trainers for DPO, SFT and KTO make a step."""
    import datasets
    import trl

    policy, tokenizer = loaded(model)
    prompts = [{"prompt": [{"role": "user", "content": text}]} for text in QUESTIONS]
    grpo = trl.GRPOConfig(
        str(tmp_path / "grpo"),
        **{**SMALL, "per_device_train_batch_size": 8},
        num_generations=4,
        max_completion_length=12,
        temperature=1.5,
        log_completions=True,
        logging_steps=1,
        seed=1,
    )
    arguments: dict[str, Any] = {"processing_class": tokenizer}
    (tmp_path / "grpo" / "completions").mkdir(parents=True)
    trl.GRPOTrainer(policy, letters, grpo, datasets.Dataset.from_list(prompts), **arguments).train()
    [log] = (tmp_path / "grpo" / "completions").glob("*.parquet")

    imported = tiny.grao_json("import", log, tmp_path / "in", "--tokenizer", model)
    assert imported["read_as"] == {"completion": "responses", "letters": "rewards"}
    assert (imported["groups"], imported["samples"], imported["rewards"]) == (2, 8, 8)
    groups = tmp_path / "in" / "groups"
    tiny.grao_json("score", groups, tmp_path / "short", "--reward", "length", "--reward-arg", "target=20")
    scores = ["--scores", tmp_path / "in" / "scores", "--scores", f"{tmp_path / 'short'}=0.5"]
    tiny.grao_json("advantages", groups, tmp_path / "advantages", *scores)

    def exported(format: str, *options: object) -> Any:
        out = tmp_path / f"{format}.parquet"
        tiny.grao_json("export", groups, out, "--format", format, "--advantages", tmp_path / "advantages", *options)
        return datasets.load_dataset("parquet", data_files=str(out), split="train", cache_dir=str(tmp_path / "hf"))

    trainers: dict[str, Any] = {
        "preference": (trl.DPOTrainer, trl.DPOConfig),
        "sft": (trl.SFTTrainer, trl.SFTConfig),
        "kto": (trl.KTOTrainer, trl.KTOConfig),
    }
    for format, (trainer_class, config_class) in trainers.items():
        config = config_class(str(tmp_path / format), **SMALL, learning_rate=1e-2)
        trainer = trainer_class(loaded(model)[0], args=config, train_dataset=exported(format), **arguments)
        assert trainer.train().global_step == 1
        assert moved(model, trainer), format
