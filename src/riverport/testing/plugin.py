"""The pytest plugin of Riverport. Importing it imports nothing of the broker: a run without our fixtures pays nothing."""
