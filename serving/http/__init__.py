"""HTTP/1.1 of both programs: connections, limits, requests and responses."""
