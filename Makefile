# Each target does all the set-up it needs: a clone, Python with venv, and make are enough.
.DEFAULT_GOAL := help
.PHONY: help setup test demo docs lint coverage fuzz mutation bench cache-figures experiments \
	faults soak clean

# One thread a worker: two workers share the two cores that are assumed.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

help: ## show the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

setup: ## create .venv and install everything into it
	@.ci/setup

test: setup ## run the tests
	@$(ONE_THREAD) .venv/bin/python -m pytest -n 2 --dist worksteal -q

demo: setup ## distil a student on the shipped sample corpus; the report lands in runs/demo
	@.venv/bin/sekd demo runs/demo

docs: setup ## build the documentation into build/site; a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(ONE_THREAD) .venv/bin/mkdocs build --strict
	@echo "open build/site/index.html"

lint: setup ## check style and types
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy --strict sekd_plugin

coverage: setup ## run the tests of the method's code; below 100 % of its branches is an error
	@mkdir -p build
	@$(ONE_THREAD) .venv/bin/coverage run --rcfile=.ci/coverage.toml -m pytest -q \
		tests/method tests/divergences tests/thresholds tests/registry tests/fused \
		tests/caching/test_what_is_kept_of_a_token.py \
		tests/caching/test_filling_reading_and_verifying.py \
		tests/kernels/test_torch_passes.py tests/kernels/test_shards_of_the_vocabulary.py \
		tests/plugins/test_faulty_components.py
	@.venv/bin/coverage report --rcfile=.ci/coverage.toml

fuzz: setup ## try every property on 20,000 examples; SEED=… repeats or continues, FILES=… chooses
	@$(ONE_THREAD) FILES='$(FILES)' SEED='$(SEED)' WORKERS='$(WORKERS)' .venv/bin/python .ci/fuzz.py

mutation: setup ## change the method's code in thousands of small ways; a test must notice each
	@.venv/bin/python -c 'import cosmic_ray' 2>/dev/null || .venv/bin/python -m pip install --quiet \
		--constraint constraints.txt --no-build-isolation --editable '.[mutation]'
	@$(ONE_THREAD) .venv/bin/python .ci/mutation/run.py

bench: setup ## compare the losses with others' in time and memory; FULL=1 is the whole grid
	@PYTHONPATH=.ci .venv/bin/python -m bench $(if $(FULL),--full) $(OPTIONS)

cache-figures: setup ## what a teacher cache costs and changes, after make demo (10 minutes)
	@.venv/bin/python .ci/teacher_cache.py

experiments: setup ## the studies of docs/experiments (many hours); TABLES="beta proxy" for some, PAIR=en_cs
	@SEKD='$(CURDIR)/.venv/bin/sekd' recipes/experiments/run.sh $(TABLES)

faults: setup ## kill, starve and damage real runs; nothing may be lost (about 20 minutes)
	@$(ONE_THREAD) .venv/bin/python -m pytest -q --timeout 900 -o python_files="fault_*.py" \
		-o python_functions="fault_*" tests/faults $(OPTIONS)

soak: setup ## train for half an hour with a checkpoint every few seconds; MINUTES=… for less
	@$(ONE_THREAD) MINUTES="$(MINUTES)" .venv/bin/python -m pytest -q -o python_files="soak_*.py" \
		-o python_functions="soak_*" tests/faults

clean: ## remove build and cache files; .venv and runs/ stay
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	@find . \( -path ./runs -o -path ./.venv \) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
