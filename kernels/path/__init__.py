"""Path tracing."""
