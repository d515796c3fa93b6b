"""Which Docker this engine answers as.

Clients compare these numbers to decide what a daemon can do (Compose reads ServerVersion, the CLI Api-Version), so they
are those of the Docker release whose behaviour is spoken. The platform's name says who really answers.
"""

from typing import Final

import riverport

DOCKER_RELEASE: Final = "28.2.2"
API_NEWEST: Final = (1, 50)
API_OLDEST: Final = (1, 24)
PLATFORM: Final = f"Riverport Engine {riverport.__version__}"
SERVER_HEADER: Final = f"Docker/{DOCKER_RELEASE} (linux)"


def version_text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
