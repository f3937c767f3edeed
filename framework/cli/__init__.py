"""The `groupwise` command: a module a command, imported only when it is asked for."""

from groupwise.framework.cli.main import main

__all__ = ["main"]
