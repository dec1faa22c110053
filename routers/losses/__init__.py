"""Auxiliary losses: functions from a routing to a scalar."""
