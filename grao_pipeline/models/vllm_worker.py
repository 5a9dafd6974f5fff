"""Runs inside vLLM's worker: what engines ask of it beyond vLLM's own methods.

There is one extension for all: vLLM adds it to the bases of its worker class, which all engines of a process share, and
two extensions, one derived from the other, would not fit there.
"""

from typing import Any

from grao_pipeline.models.vllm_behavior import BehaviorLogprobs
from grao_pipeline.models.vllm_heads import pad_heads


class WorkerExtension(BehaviorLogprobs):
    """Extension of vLLM's worker class (`worker_extension_cls`)."""

    reload_weights: Any

    def take_weights(self, model: str) -> None:
        """Load the weights of a model directory in place of the present ones.

        On a CPU, layers multiply by a packed copy of their weights. vLLM packs those that it loads, hence not the head
        that is tied to the embedding, which would keep the old ones.
        """
        self.reload_weights(weights_path=model)
        for layer in self.model_runner.get_model().modules():
            if hasattr(layer, "cpu_linear") and layer.weight.numel():
                layer.quant_method.process_weights_after_loading(layer)


pad_heads()  # vLLM imports this module before it builds a model
