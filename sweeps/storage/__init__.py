"""The study's storage, and the lock that says which process drives a sweep."""
