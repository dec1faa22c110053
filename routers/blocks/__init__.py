"""Building blocks of routers."""
