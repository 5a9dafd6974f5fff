"""Groups → scores: rewards for every sample and for the reference."""
