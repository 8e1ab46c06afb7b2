"""The verbs of orchestration, one module each. They import nothing heavy until they run."""
