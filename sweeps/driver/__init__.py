"""The one process that owns a sweep's study: queue, retries, progress."""
