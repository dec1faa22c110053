"""Recording of routes: the routings of every layer of a model."""
