"""Engines that sample. Each is one file beside `base.py`; the registry below names them."""

ENGINES = {
    "vllm": "grao_pipeline.generation.engines.vllm:VllmEngine",
    "transformers": "grao_pipeline.generation.engines.transformers:TransformersEngine",
    "openai": "grao_pipeline.generation.engines.openai:OpenAIEngine",
}
