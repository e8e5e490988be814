-- Exactly one row for each call of a model: what may be summed. CallId is OpenRouter's generation id where there is
-- one, so that the copies that an SDK and Broadcast send of the same generation meet; Rank prefers Broadcast's.
CREATE TABLE IF NOT EXISTS calls_data
(
    Destination LowCardinality(String),
    CallTime DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    CallId String CODEC(ZSTD(1)),
    Timestamp DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    SpanName LowCardinality(String),
    Duration UInt64 CODEC(ZSTD(1)),
    StatusCode LowCardinality(String),
    GenerationId String CODEC(ZSTD(1)),
    ServiceName LowCardinality(String),
    UserId String CODEC(ZSTD(1)),
    SessionId String CODEC(ZSTD(1)),
    ApiKeyName LowCardinality(String),
    Environment LowCardinality(String),
    Operation LowCardinality(String),
    Model LowCardinality(String),
    ModelRequested LowCardinality(String),
    ModelAuthor LowCardinality(String),
    Provider LowCardinality(String),
    FinishReason LowCardinality(String),
    InputTokens Nullable(UInt64) CODEC(ZSTD(1)),
    OutputTokens Nullable(UInt64) CODEC(ZSTD(1)),
    TotalTokens Nullable(UInt64) CODEC(ZSTD(1)),
    CachedInputTokens Nullable(UInt64) CODEC(ZSTD(1)),
    CacheWriteTokens Nullable(UInt64) CODEC(ZSTD(1)),
    ReasoningTokens Nullable(UInt64) CODEC(ZSTD(1)),
    CostUsd Nullable(Decimal(18, 12)) CODEC(ZSTD(1)),
    InputCostUsd Nullable(Decimal(18, 12)) CODEC(ZSTD(1)),
    OutputCostUsd Nullable(Decimal(18, 12)) CODEC(ZSTD(1)),
    CostSource LowCardinality(String),
    TimeToFirstTokenMs Nullable(Float64) CODEC(ZSTD(1)),
    Metadata Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    Source LowCardinality(String),
    IngestedAt DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    Rank UInt64 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(Rank)
PARTITION BY toYYYYMM(CallTime)
ORDER BY (Destination, CallTime, CallId)
SETTINGS non_replicated_deduplication_window = 10000, min_age_to_force_merge_seconds = 3600;
