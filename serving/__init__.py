"""Serving: `sync` puts verified versions on disk, and `server` answers predictions from them."""
