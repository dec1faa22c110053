"""The printed catalogue of routers."""
