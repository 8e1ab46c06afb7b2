"""The verbs of training, one module each; they import nothing heavy until they run."""
