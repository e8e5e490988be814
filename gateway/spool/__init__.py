"""The spool: acknowledged spans on disk, from their acknowledgement until ClickHouse has them.

Its disk format is described in docs/spool.md.
"""
