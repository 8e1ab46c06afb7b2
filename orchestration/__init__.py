"""When things run: verbs in an order. It runs the `orchard` command and imports no other program."""
