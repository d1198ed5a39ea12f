# make demo       install the core and audit a shipped example: the verdict, and where its report lies
# make test       install what the tests need and run them
# make lint       ruff, mypy, the directions between packages
# make gallery    real reports into reports/
# make browser-env  what the tests of the pages in a real browser need, besides node and Chromium
# make docs       the documentation site, in build/site; broken links are errors
# make train-env  an environment with torch, for `audit refs train`
# make reference-set IMAGES=DIR   rebuild the default set; DIR holds artists/ and background/, a folder per artist each
#                 BASE_ARGS="--unet-steps 60 --vae-steps 60": a trial with a base that learned little
#                 SET_ARGS="--workers 2": two processes
# make clean      remove what these made

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
PYTEST_ARGS ?= -n auto --maxprocesses 8
EXAMPLE = $(firstword $(sort $(wildcard examples/*.safetensors)))
PACKAGED = pyproject.toml README.md $(shell find auditor reference_sets -type f -not -name '*.pyc' 2>/dev/null)
BUILD ?= build

.PHONY: demo test test-train lint docs gallery browser-env train-env reference-set clean

demo: .venv/.ready
	@test -n "$(EXAMPLE)" || { echo "make demo: examples/ holds no .safetensors file."; exit 1; }
	.venv/bin/audit check "$(EXAMPLE)" --offline --format console --format html -o out --fail-on never

test: .venv-test/.ready
	.venv-test/bin/python -m pytest $(PYTEST_ARGS)

test-train: .venv-train/.ready
	.venv-train/bin/python -m pytest $(PYTEST_ARGS)

lint: .venv-test/.ready
	.venv-test/bin/ruff check .
	.venv-test/bin/mypy
	.venv-test/bin/lint-imports

gallery: .venv-test/.ready
	.venv-test/bin/python reports/build.py

browser-env:
	npm ci --prefix tests/report/browser --ignore-scripts --no-audit --no-fund --loglevel=error

docs: .venv-test/.ready
	.venv-test/bin/python -m mkdocs build --strict --quiet
	@echo "build/site/index.html"

train-env: .venv-train/.ready

reference-set: .venv-train/.ready
	@test -d "$(IMAGES)/artists" -a -d "$(IMAGES)/background" || \
		{ echo "make reference-set: give IMAGES=DIR with the folders artists/ and background/."; exit 2; }
	.venv-train/bin/python -m auditor.training.base --images "$(IMAGES)/background" -o $(BUILD)/base $(BASE_ARGS)
	.venv-train/bin/python -m auditor.training.default_set --base $(BUILD)/base --images "$(IMAGES)/artists" -o $(BUILD)/loras $(SET_ARGS)
	.venv-train/bin/audit refs import $(BUILD)/loras -o reference_sets/default
	.venv-train/bin/audit refs calibrate reference_sets/default
	.venv-train/bin/python benchmarks/foreign.py --base $(BUILD)/base --images "$(IMAGES)/artists" -o $(BUILD)/loras
	.venv-train/bin/audit refs evaluate reference_sets/default --loras $(BUILD)/loras --thorough

clean:
	rm -rf .venv .venv-test .venv-train out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# The core alone, from a built wheel, as a user gets it.
.venv/.ready: $(PACKAGED) | .venv/bin/pip
	.venv/bin/pip install --quiet --disable-pip-version-check .
	@touch $@

.venv-test/.ready: pyproject.toml | .venv-test/bin/pip
	.venv-test/bin/pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

.venv-train/.ready: pyproject.toml | .venv-train/bin/pip
	.venv-train/bin/pip install --quiet --disable-pip-version-check -e '.[train,test]'
	@touch $@

.venv/bin/pip .venv-test/bin/pip .venv-train/bin/pip:
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed; name one with make PYTHON=/path/to/python3 …"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(PYTHON) is older than Python 3.11; name a newer one with make PYTHON=…"; exit 1; }
	@"$(PYTHON)" -m venv $(@D:/bin=) || { rm -rf $(@D:/bin=); \
		echo "make: $(PYTHON) cannot make environments; install its venv module (Debian, Ubuntu: python3-venv)."; exit 1; }
