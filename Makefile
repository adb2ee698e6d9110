# Everything that a developer or a newcomer needs; `make help` lists it.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_MOUNTS ?=
.DEFAULT_GOAL := help
# each command that a test starts would compile the package's source anew
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

$(BIN)/iotrace: setup.cfg pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev,demo]'
	@touch $(BIN)/iotrace

iotrace/record/ebpf/recorder.bpf.o: $(wildcard iotrace/record/ebpf/*.bpf.[ch]) $(BIN)/iotrace
	$(BIN)/python -m pip install --quiet 'setuptools>=68' ziglang==0.17.1
	$(BIN)/python -c "import setup; from pathlib import Path; setup.compile_bpf(Path('$@'))"

.PHONY: setup
setup: $(BIN)/iotrace iotrace/record/ebpf/recorder.bpf.o ## virtual environment with iotrace and what its tests need

.PHONY: demo
demo: setup ## the main job: record, summarise, replay on two mounts, compare, report
	$(BIN)/iotrace demo $(DEMO_MOUNTS)

.PHONY: test
test: setup ## unit, then integration tests (5 minutes each on two slow cores)
	$(BIN)/pytest -n 2 tests/unit
	$(BIN)/pytest -n 2 --dist worksteal tests/integration

.PHONY: test-system
test-system: setup ## the slow tests: real file systems, servers, fleets, a browser, the commands of the pages
	$(BIN)/pytest -n 2 --dist loadgroup --no-loadscope-reorder tests/system

.PHONY: lint
lint: setup ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy iotrace tests
	$(BIN)/lint-imports --config setup.cfg

.PHONY: format
format: setup ## let ruff format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

RELION_FOLDER ?= /scratch/relion
.PHONY: recordings
recordings: setup ## record every step of RELION anew (root, relion from apt; 3 minutes) into data/traces
	$(BIN)/python -m iotrace.data.relion $(RELION_FOLDER)

.PHONY: steps
steps: setup ## write docs/steps anew: a page and a picture for each step
	$(BIN)/python -m iotrace.analysis.steps.pages docs/steps

.PHONY: bench-size
bench-size: setup ## how long the sizing model takes
	$(BIN)/python tests/bench/bench_size.py

.PHONY: bench-size-replays
bench-size-replays: setup ## how well a fitted storage predicts mixes that are replayed, 20 minutes (SIZE_REPLAYS='--kinds xfs')
	PYTHONPATH=tests $(BIN)/python tests/bench/bench_size_replays.py $(SIZE_REPLAYS)

.PHONY: bench-record
bench-record: setup ## what recording costs, beside strace, bpftrace and perf
	$(BIN)/python tests/bench/bench_record.py

.PHONY: bench-import
bench-import: setup ## lines per second of an import of strace's logs
	$(BIN)/python tests/bench/bench_import.py

.PHONY: bench-replay
bench-replay: setup ## operations per second, beside fio
	$(BIN)/python tests/bench/bench_replay.py

.PHONY: bench-issue-time
bench-issue-time: setup ## how late calls are issued, beside fio's read_iolog (20 minutes)
	$(BIN)/python tests/bench/bench_issue_time.py

.PHONY: bench-order
bench-order: setup ## what keeping the order between threads costs, and that it is kept
	$(BIN)/python tests/bench/bench_order.py

.PHONY: bench-verify
bench-verify: setup ## bytes per CPU second of verified writes and reads, beside fio with crc32c
	$(BIN)/python tests/bench/bench_verify.py

FIDELITY ?=
.PHONY: bench-fidelity
bench-fidelity: setup ## how well a replay predicts real programs on XFS, CephFS, MooseFS (FIDELITY='--runs 3 …')
	PYTHONPATH=tests $(BIN)/python tests/bench/bench_fidelity.py $(FIDELITY)

.PHONY: bench-plan
bench-plan: setup ## seconds and memory of the plans of traces of 1 M and 10 M events
	$(BIN)/python tests/bench/bench_plan.py

.PHONY: bench-fit
bench-fit: setup ## replays of profiles fitted to the shipped recordings, beside the recordings' own (25 minutes; FIT='--pairs 7 NAME')
	$(BIN)/python tests/bench/bench_fit.py $(FIT)

ANALYSIS ?=
.PHONY: bench-analysis
bench-analysis: setup ## seconds and memory of summary and report of long traces, beside DuckDB (ANALYSIS='--summary 1e7 …')
	PYTHONPATH=tests/bench $(BIN)/python tests/bench/bench_analysis.py $(ANALYSIS)

.PHONY: bench-profiles
bench-profiles: setup ## events per second of profile synthesise and fit
	$(BIN)/python tests/bench/bench_profiles.py

.PHONY: bench-writer
bench-writer: setup ## events per second into Parquet on one core, and bytes an event, beside pyarrow's writer
	$(BIN)/python tests/bench/bench_writer.py

.PHONY: clean
clean: ## remove what was built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis iotrace-demo
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -f iotrace/record/ebpf/*.bpf.o
