"""Container images of graphs, which serve them without an engine: layers, base, environment."""
