"""What every product stands on: ids, clocks, randomness, files, settings, logging, metrics.

Nothing here knows a protocol. Whatever a core needs from the outside world (time, chance, files) comes through an
interface of this package, so that the simulator can put its own in.
"""
