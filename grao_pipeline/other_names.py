"""What options are called in other programs (TRL, vLLM, OpenRLHF, verl), for the advice on an unknown name."""

OTHER_NAMES: dict[str, tuple[str, ...]] = {
    # sampling
    "n": ("samples",),
    "num_generations": ("samples",),
    "num_return_sequences": ("samples",),
    "n_samples_per_prompt": ("samples",),
    "max_completion_length": ("max_new_tokens",),
    "max_response_length": ("max_new_tokens",),
    "max_model_length": ("max_model_len",),
    "tp": ("tensor_parallel_size",),
    "use_vllm": ("engine",),
    "chat_template_kwargs": ("template_arg",),
    "hf": ("transformers",),
    "sglang": ("openai",),
    # rewards and advantages
    "reward_funcs": ("reward",),
    "reward_weights": ("scores", "weight"),
    "adv_estimator": ("estimator",),
    "scale_rewards": ("estimator",),
    # training
    "loss_type": ("objective",),
    "beta": ("kl", "objective_arg"),
    "kl_coef": ("kl", "objective_arg"),
    "init_kl_coef": ("kl", "objective_arg"),
    "epsilon": ("clip_low", "objective_arg"),
    "epsilon_low": ("clip_low", "objective_arg"),
    "epsilon_high": ("clip_high", "objective_arg"),
    "clip_ratio_low": ("clip_low", "objective_arg"),
    "clip_ratio_high": ("clip_high", "objective_arg"),
    "num_train_epochs": ("epochs",),
    "batch_size": ("groups_per_step",),
    "train_batch_size": ("groups_per_step",),
    "per_device_train_batch_size": ("groups_per_step",),
    "gradient_accumulation_steps": ("groups_per_step",),
    "micro_batch_size": ("tokens_per_batch",),
    "lr_scheduler_type": ("schedule",),
    "warmup_ratio": ("warmup_steps",),
    "bf16": ("dtype",),
    "fp16": ("dtype",),
    "target_modules": ("lora_target",),
    "report_to": ("log_to",),
    "wandb": ("log_to",),
    # exports
    "trl": ("preference",),
    "dpo": ("preference",),
    "pairs": ("preference",),
}
"""Name elsewhere → names here, of which the first that is known is meant."""

NAMES_OF_MODELS = ("model", "tokenizer", "reward")
"""Options that name a model of the hub, or lead to one, with its revision as MODEL@REVISION."""
