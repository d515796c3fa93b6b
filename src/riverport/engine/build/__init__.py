"""The builder: a Dockerfile and a context become an image, one layer per step, as Docker's classic builder does.

    api/build.py → options.py → builder.py         a request, and the builds under way
                                    │
    stages.py  transcript.py      stage.py         which stages run, and at once; what they say, in order; one of them
                                    │
    workshop.py ─ copy_step.py  run_step.py        the deeds of steps: COPY and ADD, RUN, all else
                  copying.py    running.py         files into a root; a container for one command
                  sources.py    run_mounts.py      what is selected, by content; what a command has mounted
                  downloads.py  caches.py          URLs; directories that outlive builds
    base_images.py  context.py  remote.py          images to stand on; the client's files, sent or fetched
    cache.py  documents.py                         which step has made which image; images' config files

    lexer.py → arguments.py → grammar.py → dockerfile.py          text to typed instructions (pure)
    expand.py  variables.py  config.py                            words, arguments, configurations (pure)
    flags.py  mounts.py  modes.py  owners.py  dockerignore.py     options (pure)
    golang.py  suggest.py                                         how Docker's own language prints and matches (pure)

Every step is an image whose parent is the step before it; the cache asks whether a child of that parent was made by
the same step, and a step is known by its content (never by times). History and configuration are what the classic
builder of Docker 28 writes, so an image built here and one built there differ in their dates only. What that builder
refuses and BuildKit has (mounts, here-documents, `--chmod`, `--link`, stages at once) works here on the same path;
secrets and SSH agents do not, as only BuildKit's session brings them.

What must hold: a build that is stuck keeps no other waiting (no thread waits for a client or a container, each build
has its own turns); whatever ends a build (the client, a failure, a kill of the daemon) leaves no process, mount, layer
or volume (`Runs.recover`), but for the containers that steps are to become (`step_containers.py`); no name or link in a
context, archive or image leads out of its root (`linux/inroot.py`).

Sources: the Dockerfile reference; the OpenAPI description of version 1.50, ImageBuild; outcomes of dockerd.
"""
