"""The command line. Importing it imports neither torch nor pydantic, so that help is quick."""

from tutelage.cli.app import main

__all__ = ["main"]
