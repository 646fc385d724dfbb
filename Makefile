# What people run here. `make help` lists it. Needs Python >= 3.9, make and Rust; everything else goes into .venv and build/.

ifndef PYTHON
# the first CPython on PATH that is new enough; name another with PYTHON=...
PYTHON := $(shell for name in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9; do \
	"$$name" -I -S -c 'import sys; sys.exit(sys.version_info < (3, 9))' >/dev/null 2>&1 && { echo "$$name"; break; }; done)
endif

VENV := .venv
RUN := $(VENV)/bin/python -B
# tests wait for a good part of their time: one more than there are processors
JOBS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PYTEST = $(RUN) -m pytest -n $(JOBS)

.PHONY: help venv file demo test lint types pytest soak bench bench-peers lock clean
.DEFAULT_GOAL := help

help:  ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## */\1\t/p' $(firstword $(MAKEFILE_LIST)) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-11s %s\n' "$$name" "$$text"; done

venv: $(VENV)/.complete  ## the private virtual environment with what tests need

$(VENV)/.complete: requirements/dev.lock
	@test -n "$(PYTHON)" || { echo "make: no CPython >= 3.9 on PATH; install one or say PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "make: $(PYTHON) has no venv or ensurepip module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	"$(PYTHON)" -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/dev.lock
	@touch $@

file: dist/kache  ## dist/kache, the one file

dist/kache: build_zipapp.py kache.py $(wildcard kachelib/*.py) $(wildcard launcher/*.*) $(wildcard requirements/*.*)
	@test -n "$(PYTHON)" || { echo "make: no CPython >= 3.9 on PATH; install one or say PYTHON=/path/to/python3" >&2; exit 1; }
	"$(PYTHON)" build_zipapp.py
	@touch $@

demo: file  ## build a small real workspace twice, in two directories, and show what kache did
	@"$(PYTHON)" -B examples/demo.py

test: venv lint types file pytest  ## everything that CI runs

lint: venv  ## ruff
	$(RUN) -m ruff check .

types: venv  ## mypy --strict
	$(RUN) -m mypy

pytest: venv file
	$(PYTEST) $(PYTEST_ARGS)

soak: venv file  ## the long tests
	$(RUN) -m pytest -m soak

bench: venv file  ## measure against no cache and sccache; BENCH_ARGS="--rounds 3 warm"
	$(RUN) -m bench $(BENCH_ARGS)

bench-peers:  ## build kache 2 and mbx into build/peers, which `make bench` compares with
	cargo install --quiet --root build/peers kache --version 2.0.0
	cargo install --quiet --root build/peers mbx --version 1.29.1

lock:  ## resolve requirements/*.in anew
	$(PYTHON) -m venv build/lock && build/lock/bin/python -m pip install --quiet uv
	build/lock/bin/uv pip compile --quiet --universal --python-version 3.9 --fork-strategy fewest --upgrade --generate-hashes \
		--no-header --no-annotate requirements/dev.in -o requirements/dev.lock
	build/lock/bin/uv pip compile --quiet --universal --python-version 3.9 --upgrade --generate-hashes \
		--no-header --no-annotate requirements/bundle.in -o requirements/bundle.lock
	build/lock/bin/uv pip compile --quiet --universal --python-version 3.9 --upgrade --generate-hashes \
		--no-header --no-annotate requirements/go.in -o requirements/go.lock

clean:  ## remove all that was built
	rm -rf build dist $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
