"""The loop for users of Luigi."""
