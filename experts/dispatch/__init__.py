"""The execution of a routing on a bank."""
