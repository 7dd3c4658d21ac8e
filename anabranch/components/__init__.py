"""Components: what a node's code must be, the built-ins, and how both are loaded."""
