"""What runs on one machine, for the demo and for a deployment alike."""
