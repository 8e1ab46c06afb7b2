"""The router in front of model servers: Envoy with one bootstrap file, which is made from typed options."""
