"""Networks around the routed layers."""
