"""From the store to the disk to the engine: only a signed, complete and checked version is ever served."""
