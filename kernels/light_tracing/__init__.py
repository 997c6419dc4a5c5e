"""Light tracing."""
