"""Configuration: schema, composition, overrides and help."""
