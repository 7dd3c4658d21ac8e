"""Built-in explainers and what they share; calling one for a request is the graph's."""
