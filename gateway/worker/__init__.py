"""A worker process: it receives, processes and exports spans, with a spool of its own."""
