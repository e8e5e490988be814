"""All workers of a gateway: started, kept running, drained together, and their metrics added up."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gateway.telemetry.merge import counters, expose, merge, plain
from gateway.telemetry.metrics import LEDGER
from gateway.worker.process import WorkerProcess
from supervision import Keeper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.telemetry.merge import Families
    from gateway.telemetry.metrics import Metrics
    from gateway.worker.setup import Setup

_RESTART_DELAYS: Final = (0.1, 10.0)
_WATCH: Final = (5.0, 30.0)
_REPORT_TIMEOUT: Final = 5.0


class _Slot:
    """A worker's place: the process that is in it, and what is known of those that were.

    Counters of a process that has ended are kept, so that no sum ever falls. Those of the ledger are the spool's, and
    the next process begins with them.
    """

    def __init__(self, setup: Setup, on_restart: Callable[[int], None]) -> None:
        self.number = setup.number
        self._ended: Families = []
        self._last: WorkerProcess | None = None
        self._on_restart = on_restart
        self.keeper: Keeper[WorkerProcess] = Keeper(
            f"worker {setup.number}",
            partial(WorkerProcess.launch, setup),
            delays=_RESTART_DELAYS,
            watch=_WATCH,
            on_restart=self._restarted,
        )

    async def start(self) -> None:
        await self.keeper.start()
        self._last = self.keeper.child

    async def metrics(self) -> list[Families]:
        child = self.keeper.child
        if child is not None:
            await child.report(_REPORT_TIMEOUT)
        return [self._ended, self._last.last_report["metrics"] if self._last is not None else []]

    def _restarted(self, restarts: int) -> None:
        if self._last is not None:
            self._ended = merge([self._ended, counters(self._last.last_report["metrics"], but=LEDGER)])
        self._last = self.keeper.child
        self._on_restart(restarts)


class Workers:
    """The workers of a gateway. `on_restart` is called when one was started again, `stop_timeout` is in seconds."""

    def __init__(self, setups: Sequence[Setup], *, on_restart: Callable[[int], None], stop_timeout: float) -> None:
        self._slots = [_Slot(setup, on_restart) for setup in setups]
        self._stop_timeout = stop_timeout

    async def start(self) -> None:
        """Start all, and wait until they are ready; WorkerError of one that is not."""
        results = await asyncio.gather(*(slot.start() for slot in self._slots), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def stop(self) -> None:
        """Have all of them drain at once, and kill those that take too long."""
        await asyncio.gather(*(slot.keeper.stop(self._stop_timeout) for slot in self._slots))

    async def refresh_keys(self) -> None:
        """Have every worker know keys that were just made."""
        children = [slot.keeper.child for slot in self._slots]
        await asyncio.gather(
            *(child.report(_REPORT_TIMEOUT, refresh_keys=True) for child in children if child is not None)
        )

    async def metrics(self, own: Metrics) -> bytes:
        """The metrics of all workers and of the supervisor, in Prometheus' text format."""
        slots = await asyncio.gather(*(slot.metrics() for slot in self._slots))
        return expose(merge([plain(own.registry), *(families for slot in slots for families in slot)]))

    def status(self) -> list[dict[str, Any]]:
        """What /status says of each."""
        return [
            {
                "number": slot.number,
                "pid": slot.keeper.child.pid if slot.keeper.child is not None else None,
                "restarts": slot.keeper.restarts,
                "ready": slot.keeper.child is not None,
            }
            for slot in self._slots
        ]
