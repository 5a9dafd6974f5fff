"""Language models as judges: the rewards `pairwise.py`, `rubric.py` and `win_rate.py`. This registry maps the names of
the engines that ask a model to their classes; their seam is `base.py`.
"""

JUDGE_ENGINES = {
    "vllm": "grao_pipeline.scoring.judges.vllm:VllmChatModel",
    "openai": "grao_pipeline.scoring.judges.openai:OpenAIChatModel",
}
