"""Number of replicas of a deployment, as Serve's autoscaler asks for it."""
