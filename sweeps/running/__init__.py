"""A sweep at work: what there is to run, the Optuna study that hands it out, the workers, here or on other hosts."""
