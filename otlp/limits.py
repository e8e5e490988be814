"""What a span must satisfy to be stored, whichever encoding it came in."""

MAX_TIME = 2**63 - 1
"""The last nanosecond that ClickHouse's DateTime64(9) and Arrow's timestamp can hold (the year 2262)."""

BAD_TRACE_ID = "a span has no valid trace id: it must be 16 bytes (32 hex digits in JSON), not all zero"
BAD_SPAN_ID = "a span has no valid span id: it must be 8 bytes (16 hex digits in JSON), not all zero"
BAD_START = "a span's start time must be nanoseconds since 1970, above 0 and before the year 2262"
BAD_END = "a span's end time must be nanoseconds since 1970 and before the year 2262"
