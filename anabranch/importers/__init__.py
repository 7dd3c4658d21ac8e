"""Turns the specs of other systems into graphs; nothing here runs a graph or asks an engine."""
