"""The stages of a request's way to an arm, composed once for each routing table.

Each does its part and has the stage within do the rest. Which arm a request goes to is decided
before; what a graph computes is the core's.
"""
