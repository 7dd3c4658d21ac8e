"""Grafana dashboards and Prometheus rules, made from the definitions of the metrics.

``files`` has them as text; a metric or a label that is gone is an error here, not an empty panel.
"""
