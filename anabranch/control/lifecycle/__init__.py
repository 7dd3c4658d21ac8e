"""The life of revisions and rollouts as pure functions: time comes in, and nothing is applied."""
