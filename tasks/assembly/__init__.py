"""Construction of tasks, backbones, routed layers and dense controls from a configuration."""
