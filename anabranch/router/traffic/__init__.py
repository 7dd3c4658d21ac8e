"""Traffic between a graph's revisions: splits, mirrors, feedback, explanations, learned state."""
