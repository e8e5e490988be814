"""Keeps child processes running."""

from supervision.keeper import Child, Keeper, StartError, exit_of

__all__ = ["Child", "Keeper", "StartError", "exit_of"]
