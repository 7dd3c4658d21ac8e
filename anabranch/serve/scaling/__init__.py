"""How many replicas a deployment has, as Serve's autoscaler asks."""
