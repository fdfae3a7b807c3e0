# SPDX-License-Identifier: GPL-2.0-only
#
# make demo    start the lab, move a router through every access network, report
# make test    everything that CI runs
# make help    the other targets

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# What the scenarios run on: Debian 12's own kernel and the one from its
# security archive.
KERNELS ?= 6.1 6.12
KERNEL ?= 6.1

DEBS := python3 python3-venv gcc make libc6-dev linux-image-amd64 \
	linux-headers-amd64 sparse qemu-system-x86 busybox-static kmod cpio \
	xz-utils zstd iproute2 iputils-ping nftables conntrack radvd tcpdump tshark \
	iperf3 procps ethtool wireguard-tools

SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: help demo test unit lab bench lint kmod shell setup debs clean

help:
	@cat <<'TEXT'
	make demo    move a router through every access network while traffic flows
	make test    lint, unit, interop, fuzz, and the lab on both kernels
	make unit    tests that need no root and no virtual machine
	make lab     scenarios in the virtual machine (KERNELS="6.1 6.12", T="-k nat")
	make bench   forwarding cost beside plain veth, sit, FOU, ip6tnl, WireGuard
	make kmod    build dsmip.ko for the lab's kernels
	make shell   a shell inside the lab with the standard topology up
	make lint    ruff, mypy, and the module with W=1 and sparse
	make clean   remove build/ and the Python environment
	TEXT

setup: debs $(VENV)/.ready

debs:
	@missing=()
	for package in $(DEBS); do
	    dpkg-query -W -f '$${db:Status-Status}\n' "$$package" 2>/dev/null | grep -qx installed \
	        || missing+=("$$package")
	done
	if [ "$${#missing[@]}" -gt 0 ]; then
	    echo "installing: $${missing[*]}"
	    $(SUDO) apt-get update -q
	    echo 'wireshark-common wireshark-common/install-setuid boolean false' \
	        | $(SUDO) debconf-set-selections
	    DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -q --no-install-recommends \
	        "$${missing[@]}"
	fi

$(VENV)/.ready: pyproject.toml | debs
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check -e '.[test]'
	touch $@

kmod: setup
	@for kernel in $(KERNELS); do $(PY) -m tests.lab.kernels "$$kernel"; done

demo: setup
	@$(PY) -m tests.lab.demo --kernel $(KERNEL)

test: lint unit lab

unit: setup
	@$(VENV)/bin/pytest -q tests/unit tests/interop tests/fuzz

# One machine for each kernel, side by side: each keeps about one core busy.
lab: setup
	@mkdir -p build/lab
	jobs=()
	for kernel in $(KERNELS); do
	    $(PY) -m tests.lab --kernel "$$kernel" $(T) > "build/lab/$$kernel.log" 2>&1 &
	    jobs+=("$$!")
	done
	status=0
	for job in "$${jobs[@]}"; do wait "$$job" || status=$$?; done
	for kernel in $(KERNELS); do cat "build/lab/$$kernel.log"; done
	exit $$status

bench: setup
	@for kernel in $(KERNELS); do $(PY) -m tests.bench --kernel "$$kernel"; done

shell: setup
	@$(PY) -m tests.lab.shell --kernel $(KERNEL)

lint: setup
	@$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	for kernel in $(KERNELS); do $(PY) -m tests.lab.kernels "$$kernel" --lint; done

clean:
	rm -rf build $(VENV)
