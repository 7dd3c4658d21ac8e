"""Calls between the engine's processes: of replicas, of the controller and of monitors."""
