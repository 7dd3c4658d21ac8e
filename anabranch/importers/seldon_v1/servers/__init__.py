"""What runs in a unit, as a node: servers, models, images and addresses; no order of calls."""
