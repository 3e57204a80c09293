# make demo    see it work, on loopback, with a mail server of its own
# make test    everything that must hold; the CI runs this and nothing else
# make check   the quick part of it: format, lints, the arrows between the floors
# make bench   against Dovecot on this machine, beside mbsync and the limit
# make build   the optimised program; make install PREFIX=/usr/local puts it in place

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))

.PHONY: demo test check fmt bench build install
.NOTPARALLEL:

demo:
	scripts/need.sh build
	$(CARGO) build -p postrider -p postrider-mailserver
	scripts/demo.sh "$(TARGET_DIR)/debug"

test:
	scripts/need.sh test
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) test --workspace
	scripts/check-service-files.sh "$(TARGET_DIR)/debug/postrider"

check:
	scripts/need.sh build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) test --test floors

fmt:
	$(CARGO) fmt --all

bench:
	scripts/need.sh bench
	$(CARGO) build --release --bin postrider
	python3 benches/run.py "$(TARGET_DIR)/release/postrider"
	python3 benches/send.py "$(TARGET_DIR)/release/postrider"
	python3 benches/large.py "$(TARGET_DIR)/release/postrider"

build:
	scripts/need.sh build
	$(CARGO) build --release --bin postrider

# Does not build, so that it can run as root after `make build` as a user.
install:
	install -Dm755 "$(TARGET_DIR)/release/postrider" "$(DESTDIR)$(PREFIX)/bin/postrider"
	install -d "$(DESTDIR)$(PREFIX)/lib/systemd/user" "$(DESTDIR)$(PREFIX)/share/dbus-1/services"
	sed 's#/usr/bin/postrider#$(PREFIX)/bin/postrider#' systemd/postrider.service \
		> "$(DESTDIR)$(PREFIX)/lib/systemd/user/postrider.service"
	sed 's#/usr/bin/postrider#$(PREFIX)/bin/postrider#' systemd/org.postrider.Postrider1.service \
		> "$(DESTDIR)$(PREFIX)/share/dbus-1/services/org.postrider.Postrider1.service"
	install -Dm644 config/config.example.toml \
		"$(DESTDIR)$(PREFIX)/share/doc/postrider/config.example.toml"
