"""What a training writes: checkpoints for resume, the model directory, and their lock."""
