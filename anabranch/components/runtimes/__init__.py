"""Predictors that serve model files."""
