"""The verbs of serving, one module each. They import nothing heavy until they run."""
