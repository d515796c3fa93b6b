"""The pytest plugin of Riverport. It imports nothing of the broker: a run without our fixtures pays nothing."""
