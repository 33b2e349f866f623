# `make demo` runs the whole pipeline on drawn faces, `make test` the tests, `make bench` the benchmarks.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-long chaos fuzz fast bench bench-quick bench-training bench-serving bench-trust bench-size bench-duplicates ladder real-faces docs package lint clean
.DELETE_ON_ERROR:

# Created once, and updated when the dependencies change.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else "ig3d needs Python 3.11 to 3.13, this is %d.%d: make PYTHON=python3.12 ..." % v[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv/installed
	$(BIN)/ig3d run search_spaces/faces.yaml --storage runs

# Three processes on two cores, since many tests wait; a file's tests run in one of them and share its fixtures.
test: .venv/installed
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# Tests too slow to run on every change: a failing S3, two drivers, machines that are added, lost or preempted.
test-long: .venv/installed
	$(BIN)/python -m pytest -m long

# Kills runs at random moments; six to nine minutes.
chaos: .venv/installed
	$(BIN)/python tests/chaos.py

# Tens of thousands of damaged and mutated inputs on every reader, and orders of events among drivers; about ten minutes.
fuzz: .venv/installed
	IG3D_FUZZ=$${IG3D_FUZZ:-700} $(BIN)/python -m pytest -n 2 tests/test_fuzz.py tests/storage/test_integrity.py tests/storage/test_lease_interleavings.py

fast: .venv/installed
	$(BIN)/python -m pytest -m 'not slow and not long'

# The libraries compared with, in a separate environment, because AutoGluon requires pandas below 3.
.peers/installed: benchmarks/peers.txt
	$(PYTHON) -m venv .peers
	.peers/bin/python -m pip install --quiet --requirement benchmarks/peers.txt
	touch $@

bench: .venv/installed .peers/installed
	$(BIN)/python -m benchmarks

bench-quick: .venv/installed .peers/installed
	$(BIN)/python -m benchmarks --quick

# Reading and training; about six minutes on two cores. On a machine with a GPU, also run: python -m benchmarks.train_gpu
bench-training: .venv/installed
	$(BIN)/python -m benchmarks.training

# Throughput and memory of the service; four minutes.
bench-serving: .venv/installed
	$(BIN)/python -m benchmarks.serving

# How often intervals, bounds, corrections and the audit's alarms are right, by simulation; five minutes on two cores.
bench-trust: .venv/installed
	$(BIN)/python -m benchmarks.trust

# FER2013's faces and 3DDFA_V2's parameters, where they are at hand.
FACES ?= ../shared/data/fer2013

# Pools of real models against AutoGluon, stacking, hill climbing and CMA-ES; half an hour on two cores.
ladder: .venv/installed .peers/installed
	$(BIN)/python -m benchmarks.ladder --faces $(FACES)

# Memory and time of a run at AffectNet's size, on generated data; three minutes on two cores.
bench-size: .venv/installed
	$(BIN)/python -m benchmarks.affectnet_size

# How well planted copies of photographs are found; three minutes on two cores.
bench-duplicates: .venv/installed
	$(BIN)/python -m benchmarks.duplicates --faces $(FACES)/faces.zip

# The study of docs/real-faces.md; at most an hour on two cores. FACES: a folder with FER2013 and 3DDFA_V2's parameters.
real-faces: .venv/installed
	$(BIN)/python -m benchmarks.real_faces --source $(FACES)

docs: .venv/installed
	$(BIN)/python -m mkdocs build --strict

# Builds a wheel and an sdist in dist/; tests the wheel in a separate environment with a search over two prediction files.
package: .venv/installed
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/python scripts/try_wheel.py dist

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture

clean:
	rm -rf .venv .peers build dist site *.egg-info
