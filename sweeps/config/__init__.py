"""Configuration of a sweep: schema, arms, objectives and plan."""
