"""Training: augmentation, optimizers, schedules, the loop and its checkpoints."""
