"""Language models as judges. The rewards are in `pairwise.py`, `rubric.py` and `win_rate.py`; the registry below names
the engines that answer them, each one file beside `base.py`."""

JUDGE_ENGINES = {
    "vllm": "grao_pipeline.scoring.judges.vllm:VllmChatModel",
    "openai": "grao_pipeline.scoring.judges.openai:OpenAIChatModel",
}
