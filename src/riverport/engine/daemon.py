"""The engine as a whole: what it is made of, the order in which it starts, recovers and stops."""

from riverport.engine.events import Events
from riverport.engine.settings import Settings
from riverport.engine.state import State


class Engine:
    """Made once per process; handlers of the API get it as their first argument."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = State(settings.data_root / "engine.db")
        self.events = Events()
