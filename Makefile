# Every target sets up what it needs in .venv first, and can be run again.
PYTHON ?= python3
BIN := .venv/bin
FIRST := .venv/.first
READY := .venv/.ready
# The certificates that pip takes too, so that both work behind a company's proxy.
export UV_SYSTEM_CERTS := 1

.PHONY: demo test lint types bench docs pictures format clean

demo: $(FIRST)  ## start the bundled server and run the main job against it
	@$(BIN)/python examples/demo.py

test: $(READY)  ## run the whole suite with branch coverage
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest $(ARGS)
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: $(READY)  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## check types
	$(BIN)/mypy

bench: $(READY)  ## measure against the peers (see benchmarks/README.md)
	@$(BIN)/python -m benchmarks $(ARGS)

docs: $(READY)  ## build the documentation into site/; any warning fails
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs site

pictures: $(READY)  ## make the pictures of README anew; needs Chromium and its driver
	$(BIN)/python docs/pictures/make.py

format: $(READY)  ## rewrite what ruff can put right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove everything that the targets above made
	rm -rf .venv tests/interop/node_modules dist site .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis

# What a first look needs, without the agent frameworks and what the tests need: a tenth of the whole.
$(FIRST): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "navai-client needs Python 3.11 or newer; set PYTHON=")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[cli,server]'
	@touch $(FIRST)

$(READY): $(FIRST)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[all]' --group dev --group docs
	@touch $(READY)
