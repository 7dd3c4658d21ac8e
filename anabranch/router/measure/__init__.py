"""Counts what a router does, as sums that only grow; windows and rates are the controller's."""
