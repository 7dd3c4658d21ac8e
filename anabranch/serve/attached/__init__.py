"""What an engine's processes find on their machine where somebody else has started Ray."""
