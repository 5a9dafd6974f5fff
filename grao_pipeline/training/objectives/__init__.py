"""Objectives, one file each; `base.py` is the seam, the registry below gives their names."""

OBJECTIVES = {
    "asymre": "grao_pipeline.training.objectives.asymre:AsymRe",
    "dpo": "grao_pipeline.training.objectives.dpo:Dpo",
    "dr-grpo": "grao_pipeline.training.objectives.dr_grpo:DrGrpo",
    "grao": "grao_pipeline.training.objectives.grao:Grao",
    "grpo": "grao_pipeline.training.objectives.grpo:Grpo",
    "opmd": "grao_pipeline.training.objectives.opmd:Opmd",
    "sft": "grao_pipeline.training.objectives.sft:Sft",
}
