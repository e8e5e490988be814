"""What the receivers of both transports are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.authentication import Authenticator
    from gateway.pipeline import Pipeline
    from gateway.telemetry.metrics import Metrics


class OtlpReceiver:
    """Takes export requests: a transport authenticates them, reads them, and submits them to the pipeline."""

    def __init__(
        self,
        authenticator: Authenticator,
        pipeline: Pipeline,
        metrics: Metrics,
        *,
        max_request_body_size: int,
        grace: float,
    ) -> None:
        """Sizes in bytes; `grace` is how many seconds running requests have to finish when it stops."""
        self._authenticator = authenticator
        self._pipeline = pipeline
        self._metrics = metrics
        self._limit = max_request_body_size
        self._grace = grace
