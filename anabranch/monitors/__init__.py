"""Built-in monitors and what they share; gathering the windows that they look at is the graph's."""
