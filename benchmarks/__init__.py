"""Measures anabranch against its goals and its peers; ``docs/benchmarks.md`` says how."""
