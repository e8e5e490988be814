"""The command line: `tollgate <command>`."""

from gateway.cli.main import main

__all__ = ["main"]
