# make demo: install and run the demo sweep.  make test: install and run the tests.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
# What a user needs, and beside it what the tests, lint and types need.
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
PEERS_VENV ?= .venv-peers
PEERS_STAMP := $(PEERS_VENV)/.installed

.PHONY: install demo test test-quick test-device test-faults gpu-check soak lint types bench \
	bench-search bench-known bench-job bench-found bench-cluster bench-peers study demo-data

install: $(DEV_STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(DEV_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

# Done at once where it is there; an error where an older version made it.
demo-data: $(STAMP)
	$(BIN)/sparsefront scenes make demo-data/procedural --scenes 40 --seed 0

demo: $(STAMP) demo-data
	$(BIN)/sparsefront sweep examples/demo.yaml --name demo-$$(date +%Y%m%d-%H%M%S)

# As many at once as there are cores, four at most: half of a test with Ray is waiting.
AT_ONCE := -n logical --maxprocesses 4 --dist worksteal

test: $(DEV_STAMP)
	$(BIN)/python -m pytest $(AT_ONCE)

# On a stand-in for an accelerator, in processes of their own: torch takes it for its own device.
test-device: $(DEV_STAMP)
	SPARSEFRONT_STAND_IN=1 $(BIN)/python -m pytest $(AT_ONCE) tests/fake_device

test-quick: $(DEV_STAMP)
	$(BIN)/python -m pytest $(AT_ONCE) -m "not long and not faults"

# Drivers, workers, nodes, jobs, servers and disks of real sweeps that go away: a minute or two each.
test-faults: $(DEV_STAMP)
	$(BIN)/python -m pytest -m faults

# 500 tiny trials whose driver or workers are killed again and again; others: TRIALS and SEED.
soak: $(DEV_STAMP)
	$(BIN)/python -m benchmarks.soak $(or $(TRIALS),500) $(or $(SEED),0)

lint: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(DEV_STAMP)
	$(BIN)/mypy

# On a machine with a GPU: CUDA against the CPU, trials, sweeps, the published detector's stages.
gpu-check: $(DEV_STAMP) demo-data
	$(BIN)/python -m benchmarks.gpu_check

bench: $(DEV_STAMP)
	$(BIN)/python -m benchmarks

# The tables of docs/benchmarks.md but for BoTorch and Syne Tune: many hours; a part alone by its own target.
bench-search: bench-known bench-job bench-found bench-cluster

# A problem whose exact front is known, searched by ours with and without the predicted front, by one
# knob and by Optuna's samplers: layers, trials and noise. An hour and a half of CPU by the records,
# a tenth of it the first three (PROBLEMS='"12 50"' is one alone). Lines go to benchmarks/results/,
# too. By one method:
# python -m benchmarks.peers LAYERS TRIALS [--noise X] NAME
PROBLEMS := "12 50" "12 50 --noise 0.02" "24 70" \
	"12 200" "12 200 --noise 0.02" "24 200" "24 200 --noise 0.02"
bench-known: $(DEV_STAMP)
	set -e; for problem in $(PROBLEMS); do $(BIN)/python -m benchmarks.peers $$problem \
		sparsefront_predicted sparsefront_misled sparsefront one_knob random nsga2 tpe gp; done

# The demo by a script that one writes by hand, and by ours; others: TRIALS and SEEDS.
SEEDS := 0 1 2
JOB := $(shell date +%Y%m%d-%H%M%S)
bench-job: $(DEV_STAMP) demo-data
	mkdir -p runs
	set -e; for seed in $(SEEDS); do \
		$(BIN)/python -m benchmarks.by_hand demo-data/procedural --seed $$seed \
			--trials $(or $(TRIALS),40) --out runs/by-hand-$(JOB)-$$seed; \
		sed "s/^seed: .*/seed: $$seed/" benchmarks/by_hand/sparsefront.yaml > runs/job-$(JOB)-$$seed.yaml; \
		$(BIN)/sparsefront sweep runs/job-$(JOB)-$$seed.yaml --name job-$(JOB)-$$seed --trials $(or $(TRIALS),8); \
	done
	$(BIN)/python -m benchmarks.fronts_over_time \
		$(SEEDS:%=runs/by-hand-$(JOB)-%/records.jsonl) $(SEEDS:%=runs/job-$(JOB)-%)

bench-found: $(DEV_STAMP) demo-data
	$(BIN)/python -m benchmarks.found_allocations demo-data/procedural --out runs

# The driver over 2,000 trials without and with Ray, 1 to 8 workers, 64 simulated nodes whose trials
# take as long as those of a sweep under runs/ (RUN=NAME; else the last demo).
bench-cluster: $(DEV_STAMP) demo-data
	$(BIN)/python -m benchmarks.trial_start
	$(BIN)/python -m benchmarks.driver_cost 2000
	$(BIN)/python -m benchmarks.soak 2000 0 100000
	$(BIN)/python -m benchmarks.scaling
	ls -d runs/demo-* > /dev/null 2>&1 || test -n "$(RUN)" || $(MAKE) demo
	$(BIN)/python -m benchmarks.cluster_simulation $(or $(RUN:%=runs/%),$$(ls -dt runs/demo-* | head -n 1))

# The same by BoTorch and Syne Tune, which have an environment of their own; six and a half hours of CPU
# by the records, most of it BoTorch's at 200 trials; RESUME=--resume keeps the runs that are there.
bench-peers: $(PEERS_STAMP)
	set -e; for problem in $(PROBLEMS); do $(PEERS_VENV)/bin/python -m benchmarks.peers $$problem \
		$(RESUME) nehvi morea morea_ranked; done
	set -e; for problem in "12 50" "12 50 --noise 0.02"; do \
		$(PEERS_VENV)/bin/python -m benchmarks.peers $$problem $(RESUME) ehvi; done

$(PEERS_STAMP): benchmarks/peers/requirements.txt constraints.txt
	test -x $(PEERS_VENV)/bin/python || $(PYTHON) -m venv $(PEERS_VENV)
	$(PEERS_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(PEERS_VENV)/bin/python -m pip install --quiet -r benchmarks/peers/requirements.txt
	$(PEERS_VENV)/bin/python -m pip install --quiet --no-deps syne-tune==0.16.0
	touch $@

study: $(DEV_STAMP) demo-data
	$(BIN)/python -m benchmarks.study
