# What a developer runs is what CI runs. PYTHON is the interpreter of the environment with `pip install -e ".[test]"`.
PYTHON ?= python3

.PHONY: check quick lint types test bench stubs

check: lint types test          ## everything CI runs

quick: lint                     ## under two minutes
	$(PYTHON) -m pytest -q -n 2 -m "not slow and not java and not node and not containers"

lint:
	$(PYTHON) -m ruff check .

types:
	$(PYTHON) -m mypy

test:
	$(PYTHON) -m pytest -n 2 --dist loadfile

bench:
	$(PYTHON) -m benchmarks kafka

stubs:                          ## after a change of the protocol table
	$(PYTHON) -m riverport.kafka.wire.stubs
