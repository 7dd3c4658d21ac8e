"""Pods of a predictor: containers, their variables and resources, replicas; not what they run."""
