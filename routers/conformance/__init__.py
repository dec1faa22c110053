"""The conformance kit: checks that every router has to pass."""
