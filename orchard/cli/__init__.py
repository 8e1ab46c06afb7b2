"""The `orchard` command: `command` finds the verbs, `verb` makes one, and the other modules are the library's verbs."""

from orchard.cli.command import main

__all__ = ["main"]
