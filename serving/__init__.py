"""Published version in, answers out: `sync` puts verified versions on disk, `server` answers from them."""
