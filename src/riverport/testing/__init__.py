"""For the tests of programs that use Kafka: brokers inside the test process, and faults on their wire.

    plugin.py     the pytest plugin, loaded by itself once riverport is installed: its fixtures
"""
