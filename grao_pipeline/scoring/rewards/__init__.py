"""Rewards. Each is one file beside `base.py`; the registry below names them."""

REWARDS = {
    "exact-match": "grao_pipeline.scoring.rewards.exact_match:ExactMatch",
    "regex": "grao_pipeline.scoring.rewards.regex:Regex",
    "length": "grao_pipeline.scoring.rewards.length:Length",
    "gsm8k": "grao_pipeline.scoring.rewards.gsm8k:Gsm8k",
    "reward-model": "grao_pipeline.scoring.rewards.reward_model:RewardModel",
}
