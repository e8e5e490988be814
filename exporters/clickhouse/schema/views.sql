-- What users query. Every view reads FINAL: a span or call counts once from its first moment, not after some merge.
-- The views are replaced whenever this file changes, so they hold no data and need no migration.

CREATE OR REPLACE VIEW spans AS
WITH
    key -> Content[if(ContentSameAs[key] = '', key, ContentSameAs[key])] AS content_of,
    -- OTLP/JSON of a number or boolean as its bare text
    value -> if(
        match(value, '^[{]"(int|double|bool)Value":'),
        extract(value, ':"?([^"}]*)"?[}]$'),
        value
    ) AS plain
SELECT
    Destination,
    Timestamp,
    TraceId,
    SpanId,
    ParentSpanId,
    TraceState,
    Flags,
    SpanName,
    SpanKind,
    ServiceName,
    EndTimestamp,
    Duration,
    StatusCode,
    StatusMessage,
    GenerationId,
    Operation,
    Model,
    ModelRequested,
    ModelAuthor,
    Provider,
    InputTokens,
    OutputTokens,
    TotalTokens,
    CachedInputTokens,
    CacheWriteTokens,
    ReasoningTokens,
    CostUsd,
    InputCostUsd,
    OutputCostUsd,
    CostSource,
    UserId,
    SessionId,
    ApiKeyName,
    Environment,
    FinishReason,
    TimeToFirstTokenMs,
    Metadata,
    arrayFirst(
        text -> text != '',
        arrayMap(
            key -> content_of(key),
            ['gen_ai.prompt', 'gen_ai.input.messages', 'trace.input', 'span.input']
        )
    ) AS Input,
    arrayFirst(
        text -> text != '',
        arrayMap(
            key -> content_of(key),
            ['gen_ai.completion', 'gen_ai.output.messages', 'trace.output', 'span.output']
        )
    ) AS Output,
    Content,
    ContentSameAs,
    Source,
    IsTest,
    CallId,
    CAST(
        mapConcat(
            SpanAttributesString,
            mapApply((key, value) -> (key, toString(value)), SpanAttributesInt),
            mapApply((key, value) -> (key, toString(value)), SpanAttributesDouble),
            mapApply((key, value) -> (key, toString(value)), SpanAttributesBool),
            SpanAttributesJson
        ),
        'Map(LowCardinality(String), String)'
    ) AS SpanAttributes,
    SpanAttributesString,
    SpanAttributesInt,
    SpanAttributesDouble,
    SpanAttributesBool,
    SpanAttributesJson,
    DroppedAttributesCount,
    DroppedEventsCount,
    DroppedLinksCount,
    CAST(
        mapConcat(
            ResourceAttributesString,
            mapApply((key, value) -> (key, plain(value)), ResourceAttributesJson)
        ),
        'Map(LowCardinality(String), String)'
    ) AS ResourceAttributes,
    ResourceAttributesString,
    ResourceAttributesJson,
    ResourceSchemaUrl,
    ResourceDroppedAttributesCount,
    ScopeName,
    ScopeVersion,
    ScopeAttributesString,
    ScopeAttributesJson,
    ScopeSchemaUrl,
    ScopeDroppedAttributesCount,
    "Events.Timestamp",
    "Events.Name",
    "Events.AttributesString",
    "Events.AttributesJson",
    "Events.DroppedAttributesCount",
    "Links.TraceId",
    "Links.SpanId",
    "Links.TraceState",
    "Links.Flags",
    "Links.AttributesString",
    "Links.AttributesJson",
    "Links.DroppedAttributesCount",
    IngestedAt
FROM spans_data FINAL;

CREATE OR REPLACE VIEW llm_calls AS
SELECT * EXCEPT (Rank)
FROM calls_data FINAL;

-- The columns of the OpenTelemetry Collector's ClickHouse exporter, for dashboards made for it.
CREATE OR REPLACE VIEW otel_traces AS
WITH
    value -> if(
        match(value, '^[{]"(int|double|bool)Value":'),
        extract(value, ':"?([^"}]*)"?[}]$'),
        value
    ) AS plain,
    (texts, others) -> CAST(
        mapConcat(texts, mapApply((key, value) -> (key, plain(value)), others)),
        'Map(LowCardinality(String), String)'
    ) AS together
SELECT
    Timestamp,
    TraceId,
    SpanId,
    ParentSpanId,
    TraceState,
    SpanName,
    SpanKind,
    ServiceName,
    ResourceAttributes,
    CAST(ScopeName, 'String') AS ScopeName,
    CAST(ScopeVersion, 'String') AS ScopeVersion,
    SpanAttributes,
    Duration,
    StatusCode,
    StatusMessage,
    "Events.Timestamp",
    "Events.Name",
    arrayMap((texts, others) -> together(texts, others), "Events.AttributesString", "Events.AttributesJson")
        AS "Events.Attributes",
    "Links.TraceId",
    "Links.SpanId",
    "Links.TraceState",
    arrayMap((texts, others) -> together(texts, others), "Links.AttributesString", "Links.AttributesJson")
        AS "Links.Attributes"
FROM spans;

-- The columns of OpenRouter's own ClickHouse destination, with OpenRouter's own ids instead of their OTLP hashes.
CREATE OR REPLACE VIEW OPENROUTER_TRACES AS
WITH
    ResourceAttributesString['openrouter.trace.id'] AS RawTraceId,
    SpanAttributesString['gen_ai.response.id'] AS RawSpanId,
    mapFilter(
        (key, value) -> startsWith(key, 'gen_ai.request.') AND key != 'gen_ai.request.model',
        SpanAttributes
    ) AS Parameters
SELECT
    if(RawTraceId = '', TraceId, RawTraceId) AS TRACE_ID,
    if(RawSpanId = '', SpanId, RawSpanId) AS SPAN_ID,
    multiIf(
        ParentSpanId = '', NULL,
        ParentSpanId = substring(TraceId, 1, 16) AND RawTraceId != '', RawTraceId,
        ParentSpanId
    ) AS PARENT_SPAN_ID,
    nullIf(UserId, '') AS USER_ID,
    nullIf(SessionId, '') AS SESSION_ID,
    nullIf(SpanAttributesString['trace.metadata.openrouter.organization_id'], '') AS ORGANIZATION_ID,
    SpanAttributesString['trace.metadata.openrouter.entity_id'] AS ENTITY_ID,
    nullIf(toString(ApiKeyName), '') AS API_KEY_NAME,
    CAST(Timestamp, 'DateTime64(3, \'UTC\')') AS TIMESTAMP,
    CAST(Timestamp, 'DateTime64(3, \'UTC\')') AS START_TIME,
    CAST(EndTimestamp, 'Nullable(DateTime64(3, \'UTC\'))') AS END_TIME,
    Duration / 1000000 AS DURATION_MS,
    nullIf(toString(Model), '') AS MODEL,
    nullIf(toString(Provider), '') AS PROVIDER_NAME,
    nullIf(SpanAttributesString['trace.metadata.openrouter.provider_slug'], '') AS PROVIDER_SLUG,
    if(StatusCode = 'Error', 'error', 'ok') AS STATUS,
    if(SpanAttributesString['span.level'] = '', 'DEFAULT', SpanAttributesString['span.level']) AS LEVEL,
    nullIf(toString(FinishReason), '') AS FINISH_REASON,
    ifNull(InputTokens, 0) AS PROMPT_TOKENS,
    ifNull(OutputTokens, 0) AS COMPLETION_TOKENS,
    ifNull(TotalTokens, 0) AS TOTAL_TOKENS,
    ifNull(CachedInputTokens, 0) AS CACHED_TOKENS,
    ifNull(ReasoningTokens, 0) AS REASONING_TOKENS,
    toFloat64(ifNull(InputCostUsd, 0)) AS INPUT_COST,
    toFloat64(ifNull(OutputCostUsd, 0)) AS OUTPUT_COST,
    toFloat64(ifNull(CostUsd, 0)) AS TOTAL_COST,
    if(
        mapContains(SpanAttributesDouble, 'trace.metadata.openrouter.input_unit_price'),
        SpanAttributesDouble['trace.metadata.openrouter.input_unit_price'],
        NULL
    ) AS INPUT_UNIT_PRICE,
    if(
        mapContains(SpanAttributesDouble, 'trace.metadata.openrouter.output_unit_price'),
        SpanAttributesDouble['trace.metadata.openrouter.output_unit_price'],
        NULL
    ) AS OUTPUT_UNIT_PRICE,
    upper(SpanAttributesString['span.type']) AS SPAN_TYPE,
    upper(SpanKind) AS SPAN_KIND,
    toString(Operation) AS OPERATION_NAME,
    concat(
        '{',
        arrayStringConcat(
            arrayConcat(
                arrayMap((k, v) -> toJSONString(k) || ':' || toJSONString(v), mapKeys(SpanAttributesString), mapValues(SpanAttributesString)),
                arrayMap((k, v) -> toJSONString(k) || ':' || toString(v), mapKeys(SpanAttributesInt), mapValues(SpanAttributesInt)),
                arrayMap((k, v) -> toJSONString(k) || ':' || toJSONString(v), mapKeys(SpanAttributesDouble), mapValues(SpanAttributesDouble)),
                arrayMap((k, v) -> toJSONString(k) || ':' || toJSONString(v), mapKeys(SpanAttributesBool), mapValues(SpanAttributesBool)),
                arrayMap((k, v) -> toJSONString(k) || ':' || v, mapKeys(SpanAttributesJson), mapValues(SpanAttributesJson))
            ),
            ','
        ),
        '}'
    ) AS ATTRIBUTES,
    Input AS INPUT,
    Output AS OUTPUT,
    toJSONString(Metadata) AS METADATA,
    JSONExtract(SpanAttributesString['trace.tags'], 'Array(String)') AS TAGS,
    toJSONString(Parameters) AS MODEL_PARAMETERS,
    toJSONString(ResourceAttributes) AS RESOURCE_ATTRIBUTES,
    1 AS SCHEMA_VERSION
FROM spans
WHERE Source = 'broadcast' AND NOT IsTest;
