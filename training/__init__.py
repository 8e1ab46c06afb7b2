"""Photos in, a published version out."""
