# Two commands for a newcomer: make demo, make test. Each sets up .venv by itself.
PY := .venv/bin/python
# a test process a core, a thread a process; tests/conftest.py says which tests stay together
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest -q tests -n logical --maxprocesses 8 --dist loadfile

.PHONY: help setup demo test test-slow docs bench bench-gpu lint format lock audit clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

setup: ## .venv with the tested set of packages; seconds when nothing changed
	@tools/setup.sh

demo: setup ## pretraining to leaderboard on shipped real images, without network or GPU
	$(PY) tools/demo.py

test: setup ## the test suite, under 10 minutes on 2 cores
	$(PYTEST) -m "not slow"

# pytest exits 5 where no test carries the mark: nothing to run is no failure
test-slow: setup ## what takes longer: fault injection, browser, documentation commands, soak
	$(PYTEST) -m slow || { [ $$? -eq 5 ] && echo "No test is marked slow."; }

docs: setup ## the documentation site, to site/
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

bench: setup ## speed and memory beside baselines, at sizes that the device at hand allows
	for what in dense pretrain knn loader scaling leaderboard profile; do $(PY) tools/benchmark.py $$what --out work_dirs/bench || exit; done
	$(PY) tools/benchmark.py teacher --random-teacher --out work_dirs/bench

bench-gpu: setup ## all benchmarks and a profile of the step, on one GPU
	$(PY) tools/benchmark.py all --rounds 3 --out work_dirs/bench-gpu

lint: setup ## ruff: rules and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: setup ## let ruff mend what it can
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

audit: setup ## known vulnerabilities of the locked packages, where the advisory service is reached
	$(PY) tools/audit.py

lock: setup ## write requirements.lock anew from setup.py's ranges; takes minutes
	tools/lock.sh --upgrade

clean: ## remove caches and build output; keeps .venv, data and results
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
