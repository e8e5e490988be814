"""Settings: the file loader, the shared types and the shipped defaults.

`load` reads files into plain data, `read` turns plain data into a component's typed settings, `Settings` is the whole.
"""

from pathlib import Path

from config.errors import ConfigError
from config.loader import load
from config.quantities import ByteSize, Duration
from config.reading import Model, read
from config.settings import DestinationSettings, ServiceSettings, Settings, to_plain
from config.types import ComponentId, Endpoint, Secret

DEFAULT_FILE = Path(__file__).with_name("default.yaml")

__all__ = [
    "DEFAULT_FILE",
    "ByteSize",
    "ComponentId",
    "ConfigError",
    "DestinationSettings",
    "Duration",
    "Endpoint",
    "Model",
    "Secret",
    "ServiceSettings",
    "Settings",
    "load",
    "read",
    "to_plain",
]
