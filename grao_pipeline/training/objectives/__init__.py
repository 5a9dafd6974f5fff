"""Objectives. Each is one file beside `base.py`; the registry below names them."""

OBJECTIVES = {"grao": "grao_pipeline.training.objectives.grao:Grao"}
