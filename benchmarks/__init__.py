"""How fast, beside Apache Kafka on the same machine: `python -m benchmarks kafka`, and `cluster` for three of each.

    nodes       one broker process of either kind on a directory of its own: format, start, stop, CPU, memory
    load        the native load client (client/load.c), compiled on first use; each run is one process and one result
    clusters    three nodes that are measured as one
    cluster_figures   what is measured of them
    figures     what is measured: a figure is a shape of load and the measures that come out of it
    bench       a run: both brokers warmed up, every figure several times, the brokers taking turns
    results     values, medians, ratios; as a table, as JSON
    plots       a picture of all ratios and one per figure (matplotlib, extra `bench`)
    engines     container engines: `python -m benchmarks engine`; engine_stage and engine_figures say of what
    document    docs/guides/benchmarks.md, filled from results
    machine     the machine described, and made ready
    progress    what a run is doing and how long it will take
    churn       `python -m benchmarks churn`: memory of a broker under minutes of load and reconnecting

Absolute numbers move with the machine and the hour. What is said is the ratio of medians of one run, in which both
brokers got the same load from the same client in turns, on the same file system, with one configuration file.
"""
