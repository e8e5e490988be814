"""The service: receivers, authentication, pipeline, spool, supervision, telemetry and the command line."""
