"""The Docker Engine API, 1.24 to 1.50: one module per group of endpoints, each with its `ROUTES`.

A handler is `async def create(engine: Engine, request: Request) -> Answer`. It reads what the client sent, calls the
noun that knows (containers, images, ...), and shapes the answer; it decides nothing. Errors are raised (see
`engine.errors`) and become `{"message": ...}` in `service.py`, which also chooses the version and the common headers.

    routing.py    Request, Route, the answers handlers make
    filters.py    the `filters` parameter in both of its forms
    service.py    from an HTTP request to a handler's answer: versions, 404s, errors, common headers
    system.py     ping, version, info, events, auth, disk usage, and what is no part of this engine (swarm, plugins)
"""
