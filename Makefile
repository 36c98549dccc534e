# Each target installs what it needs into $(VENV), once, and can be run again. CONTRIBUTING.md lists what that is.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Three processes per core, because most tests wait: with two, no core is busy for a third of the time. conftest.py
# says which tests stay in one process.
PARALLEL = -n $(shell $(PYTHON) -c 'import os; print(3 * (os.cpu_count() or 1))')
# uv trusts the system's certificates, as pip does: both work behind a proxy that re-signs TLS.
export UV_SYSTEM_CERTS := 1
# A registry that is slow, or refuses once, is no failure.
export UV_HTTP_RETRIES := 10
export UV_HTTP_TIMEOUT := 120
export PIP_RETRIES := 10
export PIP_DEFAULT_TIMEOUT := 120
# Without compiled files every Python that a test starts would compile its imports again: 2.8 s instead of 0.7 s.
unexport PYTHONDONTWRITEBYTECODE

INSTALL = @$(BIN)/uv pip install --quiet --python $(BIN)/python
# One stamp per set of packages; each is newer than pyproject.toml once its packages are installed.
TOOLS := $(VENV)/.uv
DEMO := $(VENV)/.demo
LINT := $(VENV)/.lint
CORE := $(VENV)/.core
DOCS := $(VENV)/.docs
BENCH := $(VENV)/.bench
READY := $(VENV)/.ready
RAY_VENV := .venv-ray
ADK_VENV := .venv-adk

.PHONY: help demo test deep check quick core lint format types docs bench mutants adk ray pictures clean

help:  ## list the targets, as make without a target does
	@awk -F ':.*  ## ' '/^[a-z]+:.*  ## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(DEMO)  ## start the bundled server and call it, end to end
	@$(BIN)/python examples/demo.py

# Seeds, fuzzers, measurements, fleets of real processes, a browser, and the examples of agents as processes of their own.
DEEP := $(addprefix tests/, faults/test_fleet.py inspector/test_browser.py integrations/test_example_agents.py \
  integrations/test_voice_agent.py interop/test_differential.py server/test_fuzzing.py server/test_fuzzing_bytes.py \
  server/test_store_model.py simulation test_benchmarks.py test_deployment.py test_topology.py)

test: $(READY)  ## the suite, in parallel; COVERAGE=yes adds branch coverage, ARGS selects tests
	@rm -f .coverage .coverage.*
	$(BIN)/$(if $(COVERAGE),coverage run,python) -m pytest $(PARALLEL) $(if $(filter tests/%,$(ARGS)),,$(DEEP:%=--ignore=%)) $(ARGS)
	@$(if $(COVERAGE),$(BIN)/coverage combine --quiet)
	$(if $(COVERAGE),$(BIN)/coverage report --omit='*/google_adk.py' $(if $(ARGS),--fail-under=0))

deep: $(READY)  ## what test leaves out: seeds, fuzzers, measurements, fleets of processes, a browser, examples
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS) $(DEEP)

check: $(READY)  ## any selection without coverage: make check ARGS='tests/test_models.py -k repr'
	$(BIN)/python -m pytest $(ARGS)

# What starts processes, or waits for a deadline: one test of these takes as long as a hundred others.
NOT_QUICK := $(DEEP) $(addprefix tests/, cli client/test_diagnostics.py conformance/test_as_tests.py \
  conformance/test_docs.py conformance/test_hostile_peers.py conformance/test_seeded_faults.py faults \
  functions/test_discovery.py integrations/test_agents_runner.py integrations/test_extras.py integrations/test_mcp.py \
  integrations/test_openai_agents.py integrations/test_opentelemetry.py \
  server/test_approvals.py server/test_command_line.py server/test_env_file.py server/test_environment.py \
  server/test_fail_closed.py \
  server/test_limits.py server/test_listening.py server/test_operating.py server/test_outcomes.py server/test_processes.py \
  server/test_progress.py server/test_replicas.py server/test_secrets.py server/test_serve.py server/test_demo.py \
  server/test_stores.py server/test_tracing.py server/test_upstream_settings.py server/test_workers.py test_abandoned.py \
  test_closing.py test_examples.py test_extras.py test_suite.py testing/test_guide.py testing/test_live_server.py \
  testing/test_plugin.py transports/test_addresses.py transports/test_given.py transports/test_tls_and_proxies.py)
# What needs LangChain, LiveKit, Pipecat, Pydantic AI, web frameworks, Node, nginx or Chromium.
NOT_CORE := $(addprefix tests/, conformance/test_express.py inspector integrations/test_example_agents.py \
  integrations/test_langchain.py integrations/test_livekit.py integrations/test_pipecat.py integrations/test_pydantic_ai.py \
  integrations/test_silence.py integrations/test_speech_of_frameworks.py \
  integrations/test_traces_of_frameworks.py interop server/test_fuzzing.py server/test_mounting.py test_benchmarks.py test_deployment.py \
  test_topology.py)

# Over the default transports alone, and without generated examples.
quick: $(CORE)  ## most tests, in one to two minutes with set-up: no framework, no program but Python
	$(BIN)/python -m pytest $(PARALLEL) $(addprefix --ignore=,$(sort $(NOT_QUICK) $(NOT_CORE))) \
	  -k 'not fast' -m 'not hypothesis' $(ARGS) tests

core: $(CORE)  ## the tests that need nothing but Python: make core VENV=.venv-3.13 PYTHON=python3.13
	$(BIN)/python -m pytest $(PARALLEL) $(NOT_CORE:%=--ignore=%) $(ARGS) tests

lint: $(LINT)  ## style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(LINT)  ## fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY)  ## mypy, strict
	$(BIN)/mypy

docs: $(DOCS)  ## build the documentation into site/; warnings are errors
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs site
	@$(BIN)/python docs/check.py site

bench: $(BENCH)  ## measure against other clients and servers; see benchmarks/README.md
	@$(BIN)/python -m benchmarks $(ARGS)

# Ray listens on every address, so it gets a network of its own where the system allows that; elsewhere, the token
# that it makes for each cluster protects it. Its warnings are not ours.
ALONE := $(if $(shell unshare -rn ip link set lo up 2>/dev/null && echo yes),unshare -rn sh -c 'ip link set lo up; exec "$$@"' sh)
mutants: $(READY)  ## change the code in small ways, and see whether its tests notice; see tests/mutants.md
	$(INSTALL) --group mutants
	nice $(BIN)/mutmut run --max-children 1 $(ARGS)
	$(BIN)/mutmut results

ray:  ## the example for Ray Serve on a local cluster
	@$(MAKE) --no-print-directory VENV=$(RAY_VENV) $(RAY_VENV)/.ray
	$(ALONE) $(RAY_VENV)/bin/python -m pytest -W ignore -p no:cacheprovider --confcutdir=tests/ray $(ARGS) tests/ray

# ADK and LiveKit need different versions of OpenTelemetry, so `make test` leaves the coverage of this one file to it.
ADK = $(ADK_VENV)/bin/coverage $(1) --data-file=$(ADK_VENV)/.coverage
adk:  ## the tests of the integration of Google's ADK
	@$(MAKE) --no-print-directory VENV=$(ADK_VENV) $(ADK_VENV)/.adk
	@rm -f $(ADK_VENV)/.coverage $(ADK_VENV)/.coverage.*
	$(call ADK,run) -m pytest -W ignore -p no:cacheprovider --confcutdir=tests/adk $(ARGS) tests/adk
	@$(call ADK,combine) --quiet $(ADK_VENV)
	$(call ADK,report) --include='*/google_adk.py' $(if $(ARGS),--fail-under=0)

pictures: $(READY)  ## redraw README's pictures; needs Chromium and its driver
	$(BIN)/python docs/pictures/make.py

clean:  ## remove everything that the other targets made
	rm -rf .venv .venv-* tests/interop/node_modules dist mutants site .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(TOOLS): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "navai-client needs Python 3.11 or newer; set PYTHON=")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
	@touch $@

$(DEMO): $(TOOLS)
	@test -e $(READY) || echo "Once: $(VENV) gets the command and the server, 100 MB on the disk, in a few seconds."
	$(INSTALL) --editable '.[cli,server]'
	@touch $@

$(LINT): $(TOOLS)
	$(INSTALL) --group lint
	@touch $@

$(CORE): $(TOOLS)
	@test -e $(READY) || echo "Once: $(VENV) gets small extras and pytest, 230 MB on the disk, in about 20 seconds."
	$(INSTALL) --editable '.[agents,cli,fast,mcp,otel,server,testing,tools]' --group core
	@touch $@

$(DOCS): $(TOOLS)
	$(INSTALL) --editable '.[cli,server,testing,tools]' --group docs
	@touch $@

$(BENCH): $(TOOLS)
	$(INSTALL) --editable '.[cli,fast,redis,server,tools]' --group bench
	@touch $@

$(VENV)/.ray: $(TOOLS)
	$(INSTALL) --editable '.[redis,server,testing]' --group ray
	@touch $@

$(VENV)/.adk: $(TOOLS)
	$(INSTALL) --editable '.[google-adk,server,testing]' --group adk
	@touch $@

$(READY): $(TOOLS)
	@echo "Once: $(VENV) gets every extra, all agent frameworks and tools, 1.3 GB on the disk, in about a minute."
	@echo "Some tests fetch npm packages, too. make test then takes some five minutes on two cores, make quick one."
	$(INSTALL) --editable '.[all]' --group dev
	@touch $@
