"""The ClickHouse exporter and the embedded ClickHouse."""
