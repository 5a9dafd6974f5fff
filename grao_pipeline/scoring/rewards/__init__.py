"""Rewards. Each is one file beside `base.py`; the registry below names them."""

REWARDS = {
    "exact-match": "grao_pipeline.scoring.rewards.exact_match:ExactMatch",
    "regex": "grao_pipeline.scoring.rewards.regex:Regex",
    "length": "grao_pipeline.scoring.rewards.length:Length",
    "gsm8k": "grao_pipeline.scoring.rewards.gsm8k:Gsm8k",
    "math": "grao_pipeline.scoring.rewards.math_equality:MathEquality",
    "numeric": "grao_pipeline.scoring.rewards.numeric:Numeric",
    "multiple-choice": "grao_pipeline.scoring.rewards.multiple_choice:MultipleChoice",
    "json-schema": "grao_pipeline.scoring.rewards.json_schema:JsonSchema",
    "python-tests": "grao_pipeline.scoring.rewards.python_tests:PythonTests",
    "reward-model": "grao_pipeline.scoring.rewards.reward_model.reward:RewardModel",
    "judge-pairwise": "grao_pipeline.scoring.judges.pairwise:JudgePairwise",
    "judge-rubric": "grao_pipeline.scoring.judges.rubric:JudgeRubric",
    "judge-win-rate": "grao_pipeline.scoring.judges.win_rate:JudgeWinRate",
}
