"""Store to disk to engine: only what is signed, whole and right is ever served."""
