"""Memory of a plan's processes: budgets that are shared, models too large for theirs, sums."""
