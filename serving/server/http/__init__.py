"""HTTP/1.1 for the server and for sync: connections, limits, replies."""
