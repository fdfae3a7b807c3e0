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
NODE_MODULES := tests/browser/node_modules
PY := $(VENV)/bin/python
# What the scenarios run on: Debian 12's own kernel and the one from its
# security archive.
KERNELS ?= 6.1 6.12
KERNEL ?= 6.1
# make demo SECURE=1: payload protected too, by tunnel SAs that move (RFC 4877);
# SECURE=inside: by SAs inside the tunnel. MIGRATE=off: without XFRM_MIGRATE.
SECURE ?=
MIGRATE ?= auto
# make demo MODE=portable: without the module, in namespaces of this machine.
MODE ?= kernel

DEBS := python3 python3-venv gcc make libc6-dev linux-image-amd64 \
	linux-headers-amd64 sparse qemu-system-x86 busybox-static kmod cpio \
	xz-utils zstd iproute2 iputils-ping nftables conntrack radvd isc-dhcp-client bird2 tcpdump tshark \
	iperf3 procps ethtool wireguard-tools shellcheck \
	charon-systemd strongswan-swanctl libstrongswan-standard-plugins \
	libstrongswan-extra-plugins libcharon-extra-plugins libcharon-extauth-plugins \
	libnss3-tools libcurl3-nss libevent-core-2.1-7 libevent-pthreads-2.1-7 libldns3 \
	libunbound8 bind9 bind9-dnsutils
# Daemons that installing would start; the lab starts its own, in its machine.
UNITS := strongswan.service bird.service named.service

SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: help demo test unit browser netns lab bench lint kmod ipk size shell setup debs clean

help:
	@cat <<'TEXT'
	make demo    move a router through every access network while traffic flows
	             (SECURE=1: payload encrypted with keys from IKEv2; MIGRATE=off;
	             MODE=portable: no module and no machine, in namespaces here)
	make test    lint, unit, interop, fuzz, and the lab on both kernels
	make unit    tests that need no root and no virtual machine
	make browser the LuCI pages in Chromium; pictures in build/browser/
	             (LUCI_ROOT=: inside a LuCI, see docs/openwrt.md)
	make netns   scenarios without module, in namespaces here, as root (N="-k clock")
	make lab     scenarios in the virtual machine (KERNELS="6.1 6.12", T="-k nat")
	make bench   forwarding cost beside plain veth, sit, FOU, ip6tnl, WireGuard;
	             handshakes of IKEv2 beside charon
	make kmod    build dsmip.ko for the lab's kernels
	make ipk     packages for OpenWrt 24.10, with index and checksums
	make size    what packages and daemons take, after an hour of roaming (MINUTES=)
	make shell   a shell inside the lab with the standard topology up
	make lint    ruff, mypy, and the module with W=1 and sparse (CHECKPATCH=: and
	             with that script of the kernel's source)
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
	    if [ -d /run/systemd/system ]; then
	        for unit in $(UNITS); do
	            systemctl cat "$$unit" > /dev/null 2>&1 || $(SUDO) systemctl mask -q "$$unit"
	        done
	    fi
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
ifeq ($(MODE),portable)
	@$(SUDO) $(PY) -m tests.lab.portable
else
	@$(PY) -m tests.lab.demo --kernel $(KERNEL) --migrate $(MIGRATE) \
	    $(if $(SECURE),--secure $(if $(filter 1,$(SECURE)),rfc4877,$(SECURE)))
endif

# Pages wait for their browser most of the time, and daemons for each other. All is
# run, whatever fails before.
test: lint
	@status=0
	$(MAKE) --no-print-directory -k -j3 -Otarget unit browser netns || status=$$?
	$(MAKE) --no-print-directory lab || status=$$?
	exit "$$status"

unit: setup
	@$(VENV)/bin/pytest -q tests/unit tests/interop tests/fuzz

$(NODE_MODULES)/.ready: tests/browser/package.json | debs
	@missing=()
	command -v npm > /dev/null || missing+=(nodejs npm)
	command -v chromium > /dev/null || missing+=(chromium)
	if [ "$${#missing[@]}" -gt 0 ]; then
	    echo "installing: $${missing[*]}"
	    DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -q --no-install-recommends \
	        "$${missing[@]}"
	fi
	cd tests/browser
	npm install --no-audit --no-fund --no-package-lock --loglevel=error
	touch node_modules/.ready

# Two at a time: they wait for their browsers most of the time.
browser: setup $(NODE_MODULES)/.ready
	@mkdir -p build/browser
	$(VENV)/bin/pytest -q tests/browser/test_[a-c]*.py > build/browser/first.log 2>&1 &
	first=$$!
	status=0
	$(VENV)/bin/pytest -q tests/browser/test_[d-z]*.py || status=$$?
	wait "$$first" || status=$$?
	cat build/browser/first.log
	exit "$$status"

netns: setup $(NODE_MODULES)/.ready
	@$(SUDO) $(PY) -m tests.netns $(N)

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
	$(PY) -m tests.bench.ike

ipk: setup
	@$(PY) -m package.ipk

# An hour of roaming, unless MINUTES says otherwise.
size: setup
	@$(SUDO) $(PY) -m tests.size $(if $(MINUTES),--minutes $(MINUTES))

shell: setup
	@$(PY) -m tests.lab.shell --kernel $(KERNEL)

lint: setup
	@$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	for kernel in $(KERNELS); do $(PY) -m tests.lab.kernels "$$kernel" --lint; done
	$(if $(CHECKPATCH),perl $(CHECKPATCH) --no-tree --strict --quiet -f kmod/*.c kmod/*.h)

clean:
	rm -rf build $(VENV) $(NODE_MODULES)
