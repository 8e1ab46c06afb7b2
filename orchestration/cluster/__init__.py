"""Orchard on Kubernetes: Jobs made from the chart's pod templates, and the keys and the bucket of a new release."""
