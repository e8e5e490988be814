"""Exporters: where processed spans go."""
