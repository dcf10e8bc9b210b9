"""Who runs it: the Optuna study over a study's arms, its worker processes, and W&B."""
