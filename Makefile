# What a developer does, by name. `make` alone lists it.
.DEFAULT_GOAL := help
.PHONY: help setup check format test test-fast fuzz bench soak demo

VENV := $(or $(COBNUT_VENV),.venv)

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## make .venv with all that tests and checks need
	@scripts/venv.sh test >/dev/null

check: setup  ## ruff, mypy --strict and shellcheck; changes nothing
	"$(VENV)/bin/python" -m ruff check .
	"$(VENV)/bin/python" -m ruff format --check .
	"$(VENV)/bin/python" -m mypy
	PATH="$(VENV)/bin:$$PATH" shellcheck scripts/*.sh .ci/run

format: setup  ## let ruff repair and format the code
	"$(VENV)/bin/python" -m ruff check --fix .
	"$(VENV)/bin/python" -m ruff format .

test:  ## everything, on every suitable Python that is found
	scripts/test.sh

test-fast:  ## the quick tests on one Python
	scripts/test.sh --fast

fuzz:  ## search for inputs that crash, hang or swell the parsers; FUZZ_SECONDS=300 in all, FUZZ_TARGETS="html robots"
	@scripts/venv.sh test >/dev/null && scripts/venv.sh fuzz >/dev/null
	"$(VENV)/bin/python" -m tests.fuzz $(FUZZ_TARGETS)

bench: setup  ## measure; prints the table of benchmarks/README.md
	"$(VENV)/bin/python" -m benchmarks

soak: setup  ## crawl thousands of hosts for five minutes; fails if that was impolite, slow or leaked memory
	"$(VENV)/bin/python" -m benchmarks.soak

demo:  ## crawl a small site served from this machine
	scripts/crawl.sh --demo
