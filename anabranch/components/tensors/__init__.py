"""Tensors between components: arrays, datatypes and types; their encoding is left to protocols."""
