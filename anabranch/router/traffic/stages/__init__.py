"""The stages of a request's way to an arm, one a file, composed once for each routing table.

Which arm a request goes to is decided before; what a graph computes is the core's.
"""
