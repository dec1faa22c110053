"""Routes of a run: a table in a file, measures, pages, and tables kept while it trains."""

from .table import LayerRoutes, RouteTable

__all__ = ["LayerRoutes", "RouteTable"]
