"""A search at work: points for each arm, rounds of equal budget, pruning, the comparison at each arm's own best."""
