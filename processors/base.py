"""What a processor is: a pure function from one batch to the next, made from its own settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from config import DestinationSettings, Model
    from otlp.batch import SpanBatch


@dataclass(frozen=True, slots=True)
class Context:
    """What a processor may know beside the batch: the settings of the destinations by their names."""

    destinations: Mapping[str, DestinationSettings]


class Processor(Protocol):
    """A step of the chain. It does no I/O, keeps each span's identity and order, and loses none unasked.

    It refuses spans only with `SpanBatch.reject`; an exception is a defect of the step and not of the batch, which is
    then halved until the requests that provoke it stand alone.
    """

    def __call__(self, batch: SpanBatch, context: Context, /) -> SpanBatch:
        """The batch as it leaves this step."""


@dataclass(frozen=True, slots=True)
class ProcessorType:
    """An entry of the registry: what a settings file may say, what is built from it, and a line of help."""

    settings: type[Model]
    create: Callable[[Any], Processor]
    summary: str
