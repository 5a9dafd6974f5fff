"""Engines that sample, one file per engine; the registry names them."""

ENGINES = {
    "vllm": "grao_pipeline.generation.engines.vllm:VllmEngine",
    "transformers": "grao_pipeline.generation.engines.transformers:TransformersEngine",
    "openai": "grao_pipeline.generation.engines.openai:OpenAIEngine",
}
