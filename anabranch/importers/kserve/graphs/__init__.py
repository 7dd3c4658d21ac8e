"""InferenceGraph: its fields, and the nodes that they become; nothing about InferenceServices."""
