# make help lists the targets.

KAMAILIO_SRC ?=
DESTDIR ?=
PYTEST_ARGS ?=
STORM_ARGS ?= --all

PYTHON = /usr/bin/python3
export KAMAILIO_SRC DESTDIR

MAKEFLAGS += --no-print-directory

.PHONY: all module help install run cluster deb test-deb test test-unit coverage test-integration \
	test-cluster test-cluster-short \
	test-faults-short test-rooms test-image test-kamailio versions test-faults storm soak \
	fuzz bench bench-refresh bench-outbox bench-scaling bench-signing bench-reload bench-alive \
	bench-connections bench-cluster lint format docs clean

all: module

help:
	@echo "make                   build the module against the sources of the"
	@echo "                       installed Kamailio; KAMAILIO_SRC= your own tree"
	@echo "make install           install module and configuration; DESTDIR="
	@echo "make deb               Debian packages of it, in build/deb"
	@echo "make run               the whole registration flow, live;"
	@echo "                       CMS_URL= SIP_PORT= DATA_DIR="
	@echo "make cluster           many servers, one of which is killed, live"
	@echo "make test              unit, integration and short fault tests"
	@echo "make test-unit         unit tests alone"
	@echo "make fuzz              the fuzz tests again and again; FUZZ_SECONDS=3600"
	@echo "make coverage          how much of the module they run"
	@echo "make test-model        the order of events, explored by spin;"
	@echo "                       test-model-long: with larger bounds"
	@echo "make test-integration  integration tests on the installed Kamailio;"
	@echo "                       PYTEST_ARGS='-k word'"
	@echo "make test-cluster      three servers, one database, a balancer in front;"
	@echo "                       test-cluster-short: without the long ones;"
	@echo "                       part of make test"
	@echo "make test-kamailio     integration tests on the Kamailio of a source"
	@echo "                       tree, built here: KAMAILIO_SRC="
	@echo "make versions          the same, or without KAMAILIO_SRC= on the"
	@echo "                       installed one: writes a row of README's table"
	@echo "make test-rooms        README's commands on Debian 12 and 13 with nothing"
	@echo "                       prepared (root); scripts/clean-room"
	@echo "make test-faults-short the fault tests in their short form"
	@echo "make test-faults       the CMS, the network, the database and Kamailio"
	@echo "                       fail under load; writes the table of them"
	@echo "make test-alerts       which alerts fire in each fault; writes the table of them"
	@echo "make test-image        the container images, built and run by podman;"
	@echo "                       RELEASE=trixie"
	@echo "make storm             100,000 devices register within a minute, four times"
	@echo "make soak              the long tests"
	@echo "make test-deb          the packages, built, installed, upgraded, purged"
	@echo "                       on a new Debian 12 and 13"
	@echo "make bench             what telling the CMS costs, side by side;"
	@echo "                       BENCH_BEFORE=FOLDER: and the module of another"
	@echo "                       checkout; tests/bench/README.md"
	@echo "make bench-refresh     instructions of a refresh, with and without"
	@echo "make bench-outbox      deferrals a second, delivery; a database that hangs"
	@echo "make bench-scaling     cost of a POST by what is in flight, known"
	@echo "make bench-signing     the signature of a POST"
	@echo "make bench-seen        the history's part of a registration; a scrape"
	@echo "make bench-alive       a sign of life: CPU, memory, who is told"
	@echo "make bench-connections how many connections are found, beside the best"
	@echo "make bench-cluster     a refresh in a cluster; a server is lost under load"
	@echo "make bench-machines    what a registration costs in a cluster: doc/scaling.md"
	@echo "make sizes             what so many devices take: SIZES='--devices 300000'"
	@echo "make bench-reload      files are read again each second under load"
	@echo "make lint              layers, documentation, style, shipped configuration"
	@echo "make format            indent the module's sources as Kamailio's are"
	@echo "make docs              the module's README, from its doc/"
	@echo "make clean             remove build/"

module:
	@scripts/deps build $(if $(KAMAILIO_SRC),,kamailio)
	@scripts/build-module $(if $(KAMAILIO_SRC),"$(KAMAILIO_SRC)")

install: module
	@scripts/install $(if $(KAMAILIO_SRC),"$(KAMAILIO_SRC)")

deb:
	@scripts/deps build kamailio deb
	@scripts/deb

run: module
	@scripts/deps $(if $(KAMAILIO_SRC),tree,kamailio) run
	@$(if $(KAMAILIO_SRC),scripts/kamailio-build "$(KAMAILIO_SRC)")
	@scripts/run

cluster: module
	@scripts/deps kamailio run test
	@env $$(scripts/kamailio-env installed) tests/cluster/show

test: test-unit test-model test-integration test-cluster-short test-faults-short

test-unit:
	@scripts/deps build kamailio test
	@tree=$$(scripts/kamailio-source installed) && \
		$(MAKE) -C tests/unit -j"$$(nproc)" KAMAILIO_TREE="$$tree" \
		BUILD="$(CURDIR)/build/unit"

fuzz:
	@scripts/deps build kamailio test
	@tree=$$(scripts/kamailio-source installed) && \
		$(MAKE) -C tests/unit -j"$$(nproc)" KAMAILIO_TREE="$$tree" \
		BUILD="$(CURDIR)/build/unit" fuzz

# Lines of the module that unit tests run, of each file and of all.
coverage:
	@scripts/deps build kamailio test coverage
	@rm -rf build/coverage
	@tree=$$(scripts/kamailio-source installed) && \
		OUTBOX_RUNS=300 $(MAKE) -C tests/unit -j"$$(nproc)" objects all \
		KAMAILIO_TREE="$$tree" BUILD="$(CURDIR)/build/coverage" \
		COVERAGE=--coverage
	@cd tests/unit && gcovr --root ../../modules/cms_notify \
		--filter ../../modules/cms_notify/ ../../build/coverage

.PHONY: test-model test-model-long
test-model:
	@scripts/deps model
	@tests/model/check

test-model-long:
	@scripts/deps model
	@tests/model/check long

test-integration: module
	@scripts/deps kamailio run test page
	env $$(scripts/kamailio-env installed) \
		$(PYTHON) -m pytest tests/integration -m "not soak" $(PYTEST_ARGS)

test-kamailio:
	@[ -n "$(KAMAILIO_SRC)" ] || { echo "usage: make $@ KAMAILIO_SRC=TREE"; exit 2; }
	@scripts/deps build tree run test
	@scripts/kamailio-build "$(KAMAILIO_SRC)"
	env $$(scripts/kamailio-env "$(KAMAILIO_SRC)") \
		$(PYTHON) -m pytest tests/integration -m "contract and not soak" $(PYTEST_ARGS)

versions:
	@scripts/deps build $(if $(KAMAILIO_SRC),tree,kamailio page) run test
	@scripts/versions $(if $(KAMAILIO_SRC),"$(KAMAILIO_SRC)",installed) $(PYTEST_ARGS)

test-cluster test-cluster-short: module
	@scripts/deps kamailio run test faults
	env $$(scripts/kamailio-env installed) \
		$(PYTHON) -m pytest tests/cluster $(if $(filter %-short,$@),-m "not long") \
		$(PYTEST_ARGS)

test-faults-short: module
	@scripts/deps kamailio run test faults
	env $$(scripts/kamailio-env installed) \
		$(PYTHON) -m pytest tests/faults -m short -n 6 $(PYTEST_ARGS)

test-rooms:
	@tests/rooms/all

test-faults: module
	@scripts/deps kamailio run test faults
	env $$(scripts/kamailio-env installed) $(PYTHON) -m pytest tests/faults \
		-m long --table modules/cms_notify/doc/faults.md $(PYTEST_ARGS)

.PHONY: test-alerts
test-alerts: module
	@scripts/deps kamailio run test faults
	env $$(scripts/kamailio-env installed) $(PYTHON) -m pytest tests/faults \
		-m alerts -n 4 --alerts modules/cms_notify/doc/alerts.md $(PYTEST_ARGS)

test-deb:
	@scripts/test-deb bookworm trixie

test-image:
	@tests/image/run $(PYTEST_ARGS)

storm: module
	@scripts/deps kamailio run test
	env $$(scripts/kamailio-env installed) $(PYTHON) tests/faults/storm.py \
		--output modules/cms_notify/doc \
		--alerts modules/cms_notify/doc/alerts.md $(STORM_ARGS)

soak: module
	@scripts/deps kamailio run test
	env $$(scripts/kamailio-env installed) \
		$(PYTHON) -m pytest tests/integration -m soak $(PYTEST_ARGS)

bench: module
	@scripts/deps kamailio bench
	@tests/bench/http-async-client >/dev/null
	@tests/bench/signing
	@tests/bench/seen
	@tests/bench/bench

bench-refresh: module
	@scripts/deps kamailio bench
	@tests/bench/refreshes

bench-outbox: module
	@scripts/deps kamailio run test bench
	@tests/bench/outbox

bench-scaling: module
	@scripts/deps kamailio bench
	@tests/bench/scaling

bench-reload: module
	@scripts/deps kamailio run test bench
	@env $$(scripts/kamailio-env installed) tests/bench/reloading

bench-alive: module
	@scripts/deps kamailio bench
	@tests/bench/alive

.PHONY: bench-seen
bench-seen: module
	@scripts/deps kamailio bench
	@tests/bench/seen

bench-connections: module
	@scripts/deps kamailio bench
	@tests/bench/connections

bench-cluster: module
	@scripts/deps kamailio run test bench
	@env TZ=:/etc/localtime $$(scripts/kamailio-env installed) tests/cluster/cost
	@env $$(scripts/kamailio-env installed) tests/cluster/loss

.PHONY: bench-machines sizes
bench-machines: module
	@scripts/deps kamailio run test bench
	@env TZ=:/etc/localtime $$(scripts/kamailio-env installed) tests/cluster/machines
	@tests/bench/sizes --page modules/cms_notify/doc/scaling.md

sizes:
	@tests/bench/sizes $(SIZES)

bench-signing:
	@scripts/deps build kamailio
	@tests/bench/signing

lint: module
	@scripts/deps kamailio run lint docs
	@scripts/lint

format:
	@scripts/deps lint
	clang-format -i modules/cms_notify/*.[ch]

docs:
	@scripts/deps build kamailio docs
	@scripts/docs

clean:
	rm -rf build
