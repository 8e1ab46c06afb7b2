"""The `orchard` command: `command` finds the verbs, `verb` is how one is written, `output` what it may print."""

from orchard.cli.command import main

__all__ = ["main"]
