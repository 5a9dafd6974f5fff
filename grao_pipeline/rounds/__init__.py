"""The loop: generate → score → advantages → train → evaluate, round after round, nothing done twice."""
