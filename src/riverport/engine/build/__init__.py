"""The builder: a Dockerfile and a context become an image, one layer per step, as Docker's classic builder does.

    api/build.py → builder.py ─ stages.py          which stages are needed, and what may run at once
                       │
          steps.py     copying.py     running.py    one step each: configuration, COPY and ADD, RUN
                       │
    dockerfile.py  instructions.py  arguments.py  lexer.py  expand.py        text → typed instructions (pure)
    context.py  dockerignore.py  sources.py                                  the client's files, and what COPY selects
    cache.py  config.py  history.py                                          what a step is worth, and what it leaves

Every step is an image whose parent is the step before it; the cache asks whether a child of that parent was made by
the same step, and a step is known by its content (never by times). History and configuration are what the classic
builder of Docker 28 writes, so an image built here and one built there differ in their dates only. What that builder
refuses and BuildKit has (mounts, here-documents, `--chmod`, `--link`, stages at once) works here on the same path.

Sources: the Dockerfile reference; `docs/reference/api` of Moby, version 1.50, ImageBuild; outcomes of dockerd.
"""
