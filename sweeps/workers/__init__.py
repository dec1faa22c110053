"""Worker processes of a sweep: queue, pool, jobs, artifacts and progress."""
