"""Base classes that several tasks share."""
