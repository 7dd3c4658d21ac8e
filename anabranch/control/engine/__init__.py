"""The engine's processes: how Ray, Serve and the controller start and stop; nothing of graphs."""
