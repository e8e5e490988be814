"""The data model: SpanBatch, its decoders and the two error families."""
