"""Objectives, one file each; `base.py` is the seam, the registry below gives their names."""

_HERE = "grao_pipeline.training.objectives"

OBJECTIVES = {
    "asymre": f"{_HERE}.asymre:AsymRe",
    "bridged-pair": f"{_HERE}.bridged_pair:BridgedPair",
    "chord": f"{_HERE}.chord:Chord",
    "cispo": f"{_HERE}.cispo:Cispo",
    "dapo": f"{_HERE}.dapo:Dapo",
    "disco": f"{_HERE}.disco:Disco",
    "distillation": f"{_HERE}.distillation:Distillation",
    "dpo": f"{_HERE}.dpo:Dpo",
    "dr-grpo": f"{_HERE}.dr_grpo:DrGrpo",
    "gkd": f"{_HERE}.gkd:Gkd",
    "grao": f"{_HERE}.grao:Grao",
    "grpo": f"{_HERE}.grpo:Grpo",
    "gspo": f"{_HERE}.gspo:Gspo",
    "kto": f"{_HERE}.kto:Kto",
    "opmd": f"{_HERE}.opmd:Opmd",
    "orpo": f"{_HERE}.orpo:Orpo",
    "p3o": f"{_HERE}.p3o:P3o",
    "pairwise": f"{_HERE}.pairwise:Pairwise",
    "ranked-list": f"{_HERE}.ranked_list:RankedList",
    "rec": f"{_HERE}.rec:Rec",
    "regression": f"{_HERE}.regression:Regression",
    "sapo": f"{_HERE}.sapo:Sapo",
    "sft": f"{_HERE}.sft:Sft",
    "simpo": f"{_HERE}.simpo:Simpo",
    "sparse-pair": f"{_HERE}.sparse_pair:SparsePair",
    "sppo": f"{_HERE}.sppo:Sppo",
    "trpa": f"{_HERE}.trpa:Trpa",
}
