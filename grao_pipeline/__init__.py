"""grao-pipeline: group generation and offline alignment of language models with GRAO (arXiv 2508.07750)."""

__version__ = "0.1.0"
