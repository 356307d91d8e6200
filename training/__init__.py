"""From a recipe and an encoded dataset to a run folder of checkpoints."""
