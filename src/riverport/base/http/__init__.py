"""HTTP/1.1 servers: h11 parses, plain sockets carry, handlers are one coroutine per request.

    async def handler(request: Request) -> Response | Hijack: ...
    server = await serve(handler, [UnixListener(path, mode=0o660), TcpListener("127.0.0.1", 2375)])

    messages.py    Request, Response, FileRange, Hijack: what handlers see
    router.py      method and path pattern → whatever the product keeps behind a route
    server.py      listeners, the life of a connection, limits
    exchange.py    one request and its answer on a connection: bodies, chunking, what a gone client means
    streams.py     bytes over a socket, with or without TLS; sendfile; half-close

A hostile or broken client can hold one connection for the time its `Limits` allow, and nothing else: heads and bodies
have bounds, every read has a deadline, an answer to rubbish is a 400 and a closed connection.

Sources: RFC 9110 (semantics), RFC 9112 (HTTP/1.1).
"""
