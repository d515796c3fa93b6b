"""Riverport: the systems an event-driven application runs on, in Python, speaking the real protocols.

One package per product; each starts alone and they meet at protocols only. ARCHITECTURE.md is the map.
"""

__version__ = "0.1.0"
