"""Rewards, one per file; this registry maps their names to their classes. The seam is `base.py`."""

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
    "self-consistency": "grao_pipeline.scoring.rewards.self_consistency:SelfConsistency",
    "list-items": "grao_pipeline.scoring.rewards.list_items:ListItems",
    "diversity": "grao_pipeline.scoring.rewards.diversity:Diversity",
    "answer-likelihood": "grao_pipeline.scoring.rewards.answer_likelihood:AnswerLikelihood",
    "process-reward-model": "grao_pipeline.scoring.rewards.process_reward_model:ProcessRewardModel",
    "preference-model": "grao_pipeline.scoring.rewards.preference_model:PreferenceModel",
    "reward-model": "grao_pipeline.scoring.rewards.reward_model.reward:RewardModel",
    "judge-pairwise": "grao_pipeline.scoring.judges.pairwise:PairwiseJudge",
    "judge-rubric": "grao_pipeline.scoring.judges.rubric:RubricJudge",
    "judge-win-rate": "grao_pipeline.scoring.judges.win_rate:WinRateJudge",
}
