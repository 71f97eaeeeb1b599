# Everything runs in .venv, which the first target to need it makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SAMPLE := samples/cafe_640x360.mp4
DEVICE ?= cuda
FOR ?= 3.12
PIECE_MIB ?= 60
KIT ?=

.PHONY: demo test test-training test-engines unit lint types bench gpu-kit gpu-check wheel clean

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-dev: pyproject.toml $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[dev,measure]'
	touch $@

demo: $(VENV)/installed  ## encode a sample, look at it, decode it, compare
	mkdir -p demo
	$(BIN)/zvc69 encode $(SAMPLE) demo/cafe.zvc69 --crf 28 --psnr -y
	$(BIN)/zvc69 info demo/cafe.zvc69
	$(BIN)/zvc69 decode demo/cafe.zvc69 demo/cafe.mp4 -y
	@echo "Watch demo/cafe.mp4 beside $(SAMPLE)."

test: $(VENV)/installed-dev  ## all tests, with coverage
	$(BIN)/python -m pytest -n auto --cov --cov-report=term --cov-fail-under=80

unit: $(VENV)/installed-dev  ## all but whole encodes and builds
	$(BIN)/python -m pytest -n auto -m 'not slow'

$(VENV)/installed-train: pyproject.toml $(VENV)/installed-dev
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[train]'
	touch $@

test-training: $(VENV)/installed-train  ## the trainer's tests; installs PyTorch
	$(BIN)/python -m pytest tests/training

$(VENV)/installed-rtx: pyproject.toml $(VENV)/installed-dev
	$(BIN)/python -m pip install --quiet 'tensorrt-rtx-cu13-libs==1.7.1.*' 'tensorrt-rtx-cu13-bindings==1.7.1.*' 'onnx>=1.18,<2'
	touch $@

test-engines: $(VENV)/installed-rtx  ## TensorRT-RTX engines of every graph, built without a GPU; installs 240 MB
	$(BIN)/python -m pytest tests/runtime/test_rtx.py

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev
	$(BIN)/mypy

bench: $(VENV)/installed-dev  ## frames a second and time by stage, against earlier runs on this machine
	$(BIN)/python -m zvc69_cli.measure.speed_bench $(SAMPLE) --history .bench_history.jsonl

gpu-kit: $(VENV)/installed-dev  ## build/gpu-kit: all that a GPU machine without a network lacks, in pieces
	$(BIN)/python -m zvc69_cli.measure.gpu_kit build/gpu-kit --for $(FOR) --piece-mib $(PIECE_MIB)

# With KIT=FOLDER all comes from a kit and nothing is installed elsewhere; without, from .venv.
ifeq ($(KIT),)
gpu-check: $(VENV)/installed-dev  ## prove DEVICE equal to the CPU, measure it: build/gpu-check/page.html
	$(BIN)/python -m zvc69_cli.measure.bare_machine run --here --device $(DEVICE) --out build/gpu-check --clips samples/*.mp4
else
gpu-check:
	$(PYTHON) $(KIT)/check.py run --device $(DEVICE) --out build/gpu-check
endif

wheel: $(VENV)/installed-dev
	$(BIN)/python -m build --wheel --outdir dist

clean:
	rm -rf $(VENV) demo dist build
