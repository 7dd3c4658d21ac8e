# Two commands are all you need: `make demo` and `make test`. Each sets up what it needs.

VENV   ?= .venv
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo "$$name" && break; done)
BIN    := $(VENV)/bin
# The environment grows by steps: what the demo needs, then all that the tests need.
DEMO   := $(VENV)/.demo
READY  := $(VENV)/.ready
# pip takes the build of PyTorch that fits the machine; uv installs the rest in a fraction of the time.
PIP    := $(BIN)/python -m pip install --no-compile --disable-pip-version-check -c requirements.lock
UV     := $(BIN)/uv pip install --python $(BIN)/python -c requirements.lock
# Many processes start with what is compiled here; more than a quarter of all modules nobody imports.
COMPILE := $(BIN)/python -m compileall -qq -j 0 \
	-x '/(tests?|_tests|transformers/models|plotly|databricks)/' $(VENV)/lib/python3*/site-packages
# Engines go first; all other tests share what they leave, and often wait for processes.
BESIDE := nice -n 10
PARALLEL := --numprocesses $(shell getconf _NPROCESSORS_ONLN) --dist loadfile
# Tests often wait, so two runs, of as many processes as there are processors each, go side by side.
UPPER := tests/cli tests/control tests/serve
# Libraries of models take longer to import than their tests take: one process runs these tests.
MODELS := tests/benchmarks/test_explaining.py tests/components/runtimes \
	tests/components/tensors/test_arrays.py tests/components/test_binding.py tests/explainers \
	tests/graph/plan/test_contents.py tests/importers/kserve/services/test_formats.py \
	tests/monitors/test_methods.py tests/project/test_snippets.py tests/reference/test_builtins.py

# Engines wait too: tests that take more than the one that most tests share have a run of their own.
APART := $(wildcard tests/e2e/test_cluster_*.py) tests/e2e/test_tls.py tests/e2e/test_console.py \
	tests/e2e/test_engine.py tests/e2e/test_portable.py tests/e2e/test_watch.py

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit test-upper test-lower test-models test-engines test-shared test-apart test-nightly test-native test-steady test-gpu test-mlserver test-feast check native pure audit format bench schema reference docs pictures proto swagger dagre lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Create .venv and install anabranch with all that the demo and the tests need

$(DEMO): pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) 'torch>=2.6,<3' 'uv>=0.8'
	$(UV) -e '.[torch,sklearn]'
	$(COMPILE) || true  # some are for other versions of Python
	@touch $@

$(READY): $(DEMO)
	$(UV) -e '.[torch,sklearn,onnx,xgboost,lightgbm,catboost,mlflow,huggingface,explain,drift,s3,postgres,kafka,parquet,redis,images,dev]'
	$(COMPILE) || true
	@touch $@

demo: $(DEMO) ## Train, serve and check a real ensemble over HTTP, then take it down
	@$(BIN)/python examples/digits/demo.py

test: test-unit test-engines ## Run all tests but those of the night

test-unit: test-upper test-lower test-models ## Run the tests that take no engine

test-upper: setup ## Run those of the command line, of the control plane and of what runs in Ray
	$(BESIDE) $(BIN)/python -m pytest -m "not nightly" $(PARALLEL) $(UPPER)

test-lower: setup ## Run those of all other packages, and of the project
	$(BESIDE) $(BIN)/python -m pytest -m "not nightly" $(PARALLEL) \
		tests $(patsubst %,--ignore=%,tests/e2e $(UPPER) $(MODELS))

test-models: setup ## Run the tests that take libraries of models
	$(BESIDE) $(BIN)/python -m pytest -m "not nightly" --numprocesses 1 $(MODELS)

test-engines: test-shared test-apart ## Run the tests that take engines

test-shared: setup ## Run those that share an engine
	$(BIN)/python -m pytest -m "e2e and not nightly" tests/e2e $(APART:%=--ignore=%)

test-apart: setup ## Run those that take more: engines, machines, servers or browsers of their own
	$(BIN)/python -m pytest -m "e2e and not nightly" $(APART)

test-nightly: setup ## Run the tests that are slow and rarely tell anything new
	$(BIN)/python -m pytest -m "nightly and not e2e" $(PARALLEL) -o faulthandler_timeout=1800 \
		tests --ignore=tests/e2e
	$(BIN)/python -m pytest -m "nightly and e2e" -o faulthandler_timeout=1800
	$(MAKE) test-native

# Of the tests that take an engine; `make test-steady MODULES=tests/e2e/test_edge.py` takes some.
MODULES := tests/e2e
test-steady: setup ## Run the tests that take an engine five times, beside processes that keep all processors busy
	@trap 'kill $$busy' EXIT; trap 'exit 130' INT TERM; busy=; failed=; \
	for one in $$(seq $$(getconf _NPROCESSORS_ONLN)); do \
		$(BIN)/python -c 'while True: pass' & busy="$$busy $$!"; done; \
	for turn in 1 2 3 4 5; do \
		$(BIN)/python -m pytest -m "e2e and not nightly" -o faulthandler_timeout=1800 $(MODULES) \
		|| failed="$$failed $$turn"; done; \
	test -z "$$failed" || { echo "not green in turns$$failed of 5" >&2; exit 1; }

test-gpu: setup ## Run the tests that need a CUDA device; they are skipped without one
	$(BIN)/python -m pytest -m gpu

MLSERVER := .venvs/mlserver
test-mlserver: setup ## Run the tests of MLServer's contract in an environment that has the package; this needs the network
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(MLSERVER)
	$(BIN)/uv pip install --quiet --python $(MLSERVER)/bin/python -c requirements.lock \
		--override tests/components/contracts/mlserver/overrides.txt \
		-e . hypothesis mlserver pandas pytest
	$(MLSERVER)/bin/python -m pytest tests/components/contracts

FEAST := .venvs/feast
test-feast: setup ## Run the tests of Feast in an environment that has the package; this needs the network
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(FEAST)
	$(BIN)/uv pip install --quiet --python $(FEAST)/bin/python -e '.[feast,redis]' hypothesis pytest
	$(FEAST)/bin/python -m pytest tests/components/features tests/client/features

native: setup ## Compile what each request passes, in place; this needs a C compiler and the network
	$(UV) editables hatch-mypyc hatchling setuptools
	HATCH_BUILD_HOOK_ENABLE_MYPYC=true $(UV) --no-build-isolation --no-deps --reinstall-package anabranch -e .

pure: ## Remove what `make native` has made
	find anabranch -name '*.so' -delete
	rm -f *__mypyc.*.so

NATIVE := tests/access tests/graph tests/router tests/serve/streams tests/telemetry
test-native: native ## Compile what each request passes, and run its tests and those that take engines
	@trap '$(MAKE) pure' EXIT; trap 'exit 130' INT TERM; \
	$(BIN)/python -m pytest -m "not nightly" $(PARALLEL) $(NATIVE) && \
	$(BIN)/python -m pytest -m "e2e and not nightly" tests/e2e

check: setup ## Lint, formatting, strict types, import contracts, unused code
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BESIDE) $(BIN)/mypy
	$(BESIDE) $(BIN)/mypy benchmarks/servers
	$(BESIDE) $(BIN)/lint-imports
	$(BESIDE) $(BIN)/vulture

audit: setup ## Ask for vulnerabilities of what the lock names; this needs the network
	$(BIN)/uv tool run pip-audit --requirement requirements.lock --no-deps --disable-pip

format: setup ## Format the code and mend what the linter can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

BENCHMARKS := benchmarks benchmarks.batching benchmarks.overload benchmarks.payloads \
	benchmarks.coldstart benchmarks.startup benchmarks.bandits benchmarks.explaining benchmarks.explain_load \
	benchmarks.telemetry benchmarks.sinks benchmarks.disturbances benchmarks.deaths \
	benchmarks.remote_nodes benchmarks.request_path benchmarks.streams benchmarks.many_graphs \
	benchmarks.floods benchmarks.tenants benchmarks.jobs benchmarks.access benchmarks.cache \
	benchmarks.lookups benchmarks.shared_models benchmarks.clusters
bench: setup ## Run all benchmarks, each against its goals and its peers
	@missed=; for name in $(BENCHMARKS); do echo "==> $$name"; \
		$(BIN)/python -m $$name || missed="$$missed $$name"; done; \
	test -z "$$missed" || { echo "goals missed, or not measured:$$missed" >&2; exit 1; }

schema: setup ## Write the JSON Schema of the language
	$(BIN)/anabranch schema > anabranch/specs/schema.json.new
	mv anabranch/specs/schema.json.new anabranch/specs/schema.json

reference: setup ## Write the parts of docs/ that come from code
	$(BIN)/python -m anabranch.reference docs
	$(BIN)/python -m tests.project.access_table

docs: setup ## Build the documentation site in build/site, without the network
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/site

pictures: setup ## Draw the pictures of the README and the docs; the console is photographed in Chromium
	$(BIN)/python docs/pictures.py

proto: setup ## Compile the messages of the protocol over gRPC
	$(BIN)/python -m grpc_tools.protoc --proto_path=anabranch/router/grpc \
		--descriptor_set_out=anabranch/router/grpc/open_inference.binpb open_inference.proto
	$(BIN)/python -m grpc_tools.protoc --proto_path=anabranch/components/contracts/seldon \
		--descriptor_set_out=anabranch/components/contracts/seldon/seldon.binpb seldon.proto

SWAGGER := 5.35.0
SWAGGER_SHA256 := 1b8e891893404ea4c3558b6a87e2a3e494e7eedba41168c2ece5800a391a6ea6
swagger: ## Fetch the page that documents graphs
	mkdir -p build/swagger
	npm pack --loglevel error swagger-ui-dist@$(SWAGGER) --pack-destination build/swagger
	cd build/swagger && echo "$(SWAGGER_SHA256)  swagger-ui-dist-$(SWAGGER).tgz" \
		| sha256sum --check --quiet && tar xzf swagger-ui-dist-$(SWAGGER).tgz
	for name in swagger-ui-bundle.js swagger-ui.css; do \
		grep -v 'sourceMappingURL=' build/swagger/package/$$name \
		| gzip -9 -n > anabranch/router/http/swagger/$$name.gz; done
	cp build/swagger/package/LICENSE build/swagger/package/NOTICE \
		build/swagger/package/swagger-ui-bundle.js.LICENSE.txt anabranch/router/http/swagger/

DAGRE := 3.1.3
DAGRE_SHA256 := 12441833c8af49e5a241d94bfd53159875965876b3f4f3214abafe1ed6a9ee4c
dagre: ## Fetch the library that lays out the console's drawings of graphs
	mkdir -p build/dagre
	npm pack --loglevel error @dagrejs/dagre@$(DAGRE) --pack-destination build/dagre
	cd build/dagre && echo "$(DAGRE_SHA256)  dagrejs-dagre-$(DAGRE).tgz" \
		| sha256sum --check --quiet && tar xzf dagrejs-dagre-$(DAGRE).tgz
	mkdir -p anabranch/router/console/static
	grep -v 'sourceMappingURL=' build/dagre/package/dist/dagre.esm.js \
		| gzip -9 -n > anabranch/router/console/static/dagre.js.gz
	cp build/dagre/package/dist/dagre.esm.js.LEGAL.txt \
		anabranch/router/console/static/dagre.js.LICENSE.txt

lock: setup ## Resolve requirements.lock anew (torch and xgboost stay ranges: their builds depend on the machine)
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --upgrade --quiet \
		--extra sklearn --extra onnx --extra xgboost --extra lightgbm --extra catboost \
		--extra mlflow --extra huggingface --extra explain --extra drift --extra s3 \
		--extra postgres --extra kafka --extra parquet --extra redis --extra images \
		--extra dev --no-annotate \
		--no-emit-index-url --no-emit-find-links --no-emit-package torch \
		--no-emit-package xgboost --custom-compile-command "make lock" \
		--output-file requirements.lock
	sed -i -E '/^(nvidia-|cuda-|triton==)/d' requirements.lock

clean: ## Remove everything that was built, trained or installed
	rm -rf $(VENV) .venvs build dist *.egg-info examples/*/models benchmarks/results
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
