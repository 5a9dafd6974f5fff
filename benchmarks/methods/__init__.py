"""How the methods compare: SFT, DPO, GRPO, GRAO and GRAO's ablations, trained from one base model per task."""
