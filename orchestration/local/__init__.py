"""The loop on one machine: sample data, a workspace, and the commands in their order."""
