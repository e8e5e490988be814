"""What is made at run time: API keys."""

from state.database import StateError, open_database
from state.keys import ApiKey, KeyNotFoundError, KeyStore, hash_key

__all__ = ["ApiKey", "KeyNotFoundError", "KeyStore", "StateError", "hash_key", "open_database"]
