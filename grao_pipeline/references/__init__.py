"""References for prompts that have none: a teacher model's, the best samples of groups, or those of another table."""
