"""HTTP/1.1: connections, limits, requests and responses."""
