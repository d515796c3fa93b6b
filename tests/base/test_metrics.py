import re

import pytest

from riverport.base.metrics import OTHER, SERIES_MAX, Registry


def test_counters_and_gauges() -> None:
    metrics = Registry()
    requests = metrics.counter("requests_total", "Requests\nhandled.", "api", "client")
    requests.of("Fetch", 'a"b\\c').value += 2
    requests.of("Fetch", 'a"b\\c').add(0.5)
    metrics.gauge("up", "Whether it runs.").of().read = lambda: 1
    metrics.gauge("unused", "Never seen.")
    assert metrics.text() == (
        "# HELP requests_total Requests\\nhandled.\n"
        "# TYPE requests_total counter\n"
        'requests_total{api="Fetch",client="a\\"b\\\\c"} 2.5\n'
        "# HELP up Whether it runs.\n"
        "# TYPE up gauge\n"
        "up 1\n"
    )


def test_histograms_count_into_buckets() -> None:
    metrics = Registry()
    seconds = metrics.histogram("seconds", "How long.", "api", bounds=(0.1, 1.0)).of("Fetch")
    for value in (0.05, 0.1, 0.5, 7.0):
        seconds.observe(value)
    assert seconds.quantile(0.5) == 0.1
    assert seconds.quantile(0.75) == 1.0
    assert seconds.quantile(0.99) == float("inf")
    assert metrics.text().splitlines()[2:] == [
        'seconds_bucket{api="Fetch",le="0.1"} 2',
        'seconds_bucket{api="Fetch",le="1"} 3',
        'seconds_bucket{api="Fetch",le="+Inf"} 4',
        'seconds_sum{api="Fetch"} 7.65',
        'seconds_count{api="Fetch"} 4',
    ]


def test_a_name_is_one_family() -> None:
    metrics = Registry()
    metrics.counter("a", "A.").of().value += 1
    assert metrics.counter("a", "A.").of().value == 1
    with pytest.raises(AssertionError):
        metrics.counter("a", "A.").of("label")


def test_the_number_of_series_is_bounded() -> None:
    family = Registry().counter("a", "A.", "client")
    for number in range(SERIES_MAX + 50):
        family.of(str(number)).add()
    assert len(family.series) == SERIES_MAX + 1
    assert family.of(OTHER).value == 50


def test_every_line_is_of_the_text_format() -> None:
    metrics = Registry()
    metrics.gauge("g", "G.").of().value = float("nan")
    metrics.gauge("h", "H.").of().value = float("-inf")
    metrics.counter("c", "C.").of().value = 1e20
    metrics.histogram("s", "S.").of().observe(0.002)
    line = re.compile(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? (NaN|[+-]Inf|[0-9.e+-]+)')
    for text in metrics.text().splitlines():
        assert text.startswith("#") or line.fullmatch(text), text
