"""Orchard on Kubernetes: Jobs made from the chart's pod templates, and what a fresh release needs before it can run."""
