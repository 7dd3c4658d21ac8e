"""Imports Model, Pipeline and Experiment of Seldon Core v2; nothing here asks a server."""
