"""What holds for every test: Hypothesis tells no time, since other work on the machine takes some."""

from hypothesis import HealthCheck, settings

settings.register_profile("riverport", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("riverport")
