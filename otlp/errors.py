"""The two families of failure: what a sender may try again, and what it must not.

Every layer raises one of these; the receivers map them to HTTP and gRPC in one table (gateway/receivers/status.py).
"""


class RetryableError(Exception):
    """Nothing is wrong with the data: the same request may succeed later.

    `delay` is the number of seconds before which it is of no use to try again.
    """

    def __init__(self, message: str, *, delay: float = 0.0) -> None:
        super().__init__(message)
        self.delay = delay


class PermanentError(Exception):
    """The data will never be accepted as it is.

    `reason` is a short name from a closed set, fit for a metric label; `count` is the number of spans it concerns.
    """

    def __init__(self, message: str, *, reason: str, count: int = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.count = count
