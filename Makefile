# make demo   train, query and plot on real images
# make test   the whole suite
# Both create .venv first. PYTHON=python3.12 chooses the interpreter (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
DEMO := runs/demo

.PHONY: demo test test-export test-report clean

# All three run, whatever the first finds, and each can fail it; pytest's summary comes last.
test: $(STAMP)
	@failed=0; for step in "ruff check ." mypy pytest; do echo "$(BIN)/$$step"; $(BIN)/$$step || failed=1; done; exit $$failed

# The formats whose packages are large (gigabytes), in an environment of their own.
test-export: $(STAMP)
	test -x .venv-export/bin/python || $(PYTHON) -m venv .venv-export
	.venv-export/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,images,onnx,openvino,litert,tflm,executorch,ethos-u,coreml]'
	.venv-export/bin/python -m pytest -p no:anyio -m export

# The page of `ofa report` in a real browser: Debian's chromium, or the one at $CHROMIUM.
test-report: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,report,browser]'
	$(BIN)/python -m pytest -m browser

# The data set comes from Debian's package where make runs as root on Debian (--apt), else from its official address.
demo: $(STAMP)
	$(BIN)/ofa data fashion-mnist --apt
	$(BIN)/ofa train configs/demo.yaml --run $(DEMO)
	$(BIN)/ofa predictor $(DEMO) --samples 100
	$(BIN)/ofa profile --space $(DEMO)/space.yaml --channels-last --out $(DEMO)/this-machine.yaml
	rm -rf $(DEMO)/queries
	$(BIN)/ofa query $(DEMO) --platform $(DEMO)/this-machine.yaml --macs-m 0.718 --out $(DEMO)/queries/tenth-of-the-macs
	$(BIN)/ofa query $(DEMO) --platform edge-int8 --energy-mj 0.009 --out $(DEMO)/queries/frugal
	$(BIN)/ofa query $(DEMO) --platform edge-int8 --energy-mj 0.02 --memory-kb 20 --out $(DEMO)/queries/accurate
	$(BIN)/ofa pareto $(DEMO) --platform edge-int8 --out $(DEMO)/front.png
	$(BIN)/ofa pareto $(DEMO) --platform $(DEMO)/this-machine.yaml --x latency_ms --out $(DEMO)/front-latency.png
	$(BIN)/ofa report $(DEMO) --platform edge-int8 --platform $(DEMO)/this-machine.yaml --out $(DEMO)/report.html

# The stamp is written last: an install that was broken off is repeated.
$(STAMP): pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; set PYTHON=..." if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,images,report,tensorboard]'
	touch $@

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
