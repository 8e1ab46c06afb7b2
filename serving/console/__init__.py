"""The console: a page to try the model, and the state of the loop. It reads the registry and changes nothing in it."""
