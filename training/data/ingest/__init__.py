"""Photos in: sources are read, every photo is decoded, refused or kept, and what is kept becomes shards of a dataset."""
