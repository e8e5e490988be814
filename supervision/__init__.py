"""Keeps child processes running."""

from supervision.keeper import Child, Keeper, StartError, exit_of
from supervision.lock import LockedError, file_lock
from supervision.process import ProcessChild

__all__ = ["Child", "Keeper", "LockedError", "ProcessChild", "StartError", "exit_of", "file_lock"]
