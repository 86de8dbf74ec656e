# Trireme's commands. Each does its own set-up and says what it is doing.

SHELL := /bin/bash
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/trireme
export CARGO_TARGET_DIR ?= $(CACHE)/target
DIST := $(CACHE)/dist/bin
ENGINES := $(CACHE)/dist/lib/trireme/engines
CRASH := $(CACHE)/dist/crash/bin
PREFIX ?= /usr/local
TOOLS := $(CACHE)/tools
HANDLERS := wasmtime wasmer wasmedge wasm wasm-node
# The shim is run for every start and delete: no relocation, no dynamic linker.
STATIC := -C target-feature=+crt-static -C relocation-model=static -C link-arg=-Wl,--build-id
# Where the archive of its helper's one C library stands alone, so that no shared object of the
# same name is found before it.
ARCHIVES := $(CACHE)/archives
# The server: static as well, of the crates that tests and executor are made of, so that those are
# compiled once.
SERVER = cargo rustc --quiet --release --locked -p trireme-shim --bin trireme-shim
SERVER_STATIC := $(STATIC) -L native=$(ARCHIVES)
# Engines that are plugins, a shared object each; the first of them are linked in too.
BOTH := wasmtime wasmer
PLUGINS := $(BOTH) wasmi wasmedge
# In the order in which they are installed: none is there before those that it starts.
PROGRAMS := trireme-executor trireme-shim containerd-shim-trireme-v1 trireme

.PHONY: help build build-crash install demo test lint bench soak hosts rust go apt clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

rust:
	@command -v cargo >/dev/null || { echo 'make: Rust is missing; install 1.95 or later with rustup' >&2; exit 1; }

go:
	@command -v go >/dev/null || { echo 'make: Go is missing; the tests need 1.26.3 or later' >&2; exit 1; }

apt:
	@tests/setup/packages

## make build    the programs, in the cache's dist/bin
build: rust apt
	@mkdir -p '$(DIST)' '$(ENGINES)' '$(ARCHIVES)'
	@echo 'make: building the shim (static)'
	@# With musl, which asks the processor for nothing when a program starts.
	@target=$$(tests/setup/musl) && \
		RUSTFLAGS='$(STATIC)' cargo build --quiet --release --locked --target "$$target" \
			-p trireme-shim --no-default-features --bin containerd-shim-trireme-v1 && \
		tests/setup/place "$(CARGO_TARGET_DIR)/$$target/release/containerd-shim-trireme-v1" '$(DIST)'
	@ln -sf "$$(pkg-config --variable=libdir libseccomp)/libseccomp.a" '$(ARCHIVES)/'
	@$(SERVER) -- $(SERVER_STATIC)
	@tests/setup/place '$(CARGO_TARGET_DIR)/release/trireme-shim' '$(DIST)'
	@echo 'make: building the executor with its engines'
	@# With the plugins that hold the same engines, so that those are compiled once.
	@cargo build --quiet --release --locked -p trireme-executor $(BOTH:%=-p trireme-plugin-%)
	@echo 'make: building the command line'
	@cargo build --quiet --release --locked -p trireme-cli
	@for plugin in $(filter-out $(BOTH),$(PLUGINS)); do \
		echo "make: building the plugin $$plugin"; \
		cargo build --quiet --release --locked -p "trireme-plugin-$$plugin" || exit; done
	@for program in trireme-executor trireme; do \
		tests/setup/place "$(CARGO_TARGET_DIR)/release/$$program" '$(DIST)'; done
	@for plugin in $(PLUGINS); do \
		tests/setup/place "$(CARGO_TARGET_DIR)/release/libtrireme_$$plugin.so" '$(ENGINES)'; done
	@echo "make: built $(PROGRAMS) in $(DIST), and plugins in $(ENGINES)"

# The same with named crash steps, for tests: what dies there, dies on purpose.
build-crash: build
	@echo 'make: building the variant with crash steps'
	@$(SERVER) --features crash-steps -- $(SERVER_STATIC)
	@cargo build --quiet --release --locked -p trireme-executor --features crash-steps
	@mkdir -p '$(CRASH)'
	@tests/setup/place '$(CARGO_TARGET_DIR)/release/trireme-shim' '$(CRASH)'
	@tests/setup/place '$(CARGO_TARGET_DIR)/release/trireme-executor' '$(CRASH)'
	@cp -p '$(DIST)/containerd-shim-trireme-v1' '$(CRASH)/'
	@for handler in $(HANDLERS); do \
		ln -sf containerd-shim-trireme-v1 "$(CRASH)/containerd-shim-$$handler-v1"; done

## make install  the programs in $(DESTDIR)$(PREFIX)/bin, linked for each handler; plugins in
##               lib/trireme/engines, their header in include
install: build
	@install -d '$(DESTDIR)$(PREFIX)/bin'
	@install -m 755 $(addprefix '$(DIST)'/,$(PROGRAMS)) '$(DESTDIR)$(PREFIX)/bin/'
	@for handler in $(HANDLERS); do \
		ln -sf containerd-shim-trireme-v1 "$(DESTDIR)$(PREFIX)/bin/containerd-shim-$$handler-v1"; done
	@install -d '$(DESTDIR)$(PREFIX)/lib/trireme/engines' '$(DESTDIR)$(PREFIX)/include'
	@install -m 755 '$(ENGINES)'/*.so '$(DESTDIR)$(PREFIX)/lib/trireme/engines/'
	@install -m 644 plugins/api/include/trireme_plugin.h '$(DESTDIR)$(PREFIX)/include/'
	@echo "make: installed in $(DESTDIR)$(PREFIX)/bin, lib and include"

## make demo     builds everything and runs a Wasm program as a container
demo: build go
	@tests/demo

## make hosts    the test hosts, each with a real containerd
hosts: build go
	@for host in bookworm containerd-2.3 trixie forky forky-2.3 kube cgroup2 cgroup1; do tests/host $$host -- true || exit; done

## make lint     formatting, clippy, licences, and the arrows between crates
lint: rust apt
	@tests/lint

## make test     all tests
test: rust go
	@tests/run-all

## make soak     what is too long for every change
soak: rust go
	@tests/run-all --soak

## make bench    Trireme side by side with other runtimes
bench: build go
	@bench/run all
