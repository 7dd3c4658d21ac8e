"""Explainers of Alibi, which is under the Business Source License 1.1."""
