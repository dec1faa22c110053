"""The stages of a sweep: search and confirmation."""
