"""Models in the memory of a node, several of one kind at a time; loading one is its runtime's."""
