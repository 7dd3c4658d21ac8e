"""The tree of a predictor, and its order of calls as nodes; what a node runs is elsewhere."""
