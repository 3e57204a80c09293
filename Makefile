# make demo    see it work, on loopback, with a mail server of its own
# make test    everything that must hold; the CI runs this and nothing else
# make check   the quick part of it: format, lints, the arrows between the floors
# make bench   against Dovecot on this machine, beside mbsync and the limit
# make build   the optimised program; make install PREFIX=/usr/local puts it in place
# make deb     a Debian package of it, after make build

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
BINARY ?= $(TARGET_DIR)/release/postrider
DEST := $(DESTDIR)$(PREFIX)

.PHONY: demo test check fmt bench build install deb
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
	$(CARGO) build -p postrider -p postrider-mailserver
	scripts/check-service-files.sh "$(TARGET_DIR)/debug/postrider"
	scripts/check-man.sh "$(TARGET_DIR)/debug/postrider"
	scripts/check-deb.sh "$(TARGET_DIR)/debug/postrider"
	scripts/walk.sh --check "$(TARGET_DIR)/debug"

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
	install -Dm755 "$(BINARY)" "$(DEST)/bin/postrider"
	ln -sf postrider "$(DEST)/bin/postrider-sendmail"
	install -d "$(DEST)/lib/systemd/user" "$(DEST)/share/dbus-1/services"
	sed 's#/usr/bin/postrider#$(PREFIX)/bin/postrider#' systemd/postrider.service \
		> "$(DEST)/lib/systemd/user/postrider.service"
	sed 's#/usr/bin/postrider#$(PREFIX)/bin/postrider#' systemd/org.postrider.Postrider1.service \
		> "$(DEST)/share/dbus-1/services/org.postrider.Postrider1.service"
	install -Dm644 -t "$(DEST)/share/dbus-1/interfaces" data/dbus-1/interfaces/*.xml
	install -Dm644 -t "$(DEST)/share/doc/postrider" config/config.example.toml README.md CHANGELOG.md
	install -d "$(DEST)/share/bash-completion/completions" "$(DEST)/share/zsh/site-functions" \
		"$(DEST)/share/fish/vendor_completions.d"
	"$(BINARY)" completions bash > "$(DEST)/share/bash-completion/completions/postrider"
	"$(BINARY)" completions zsh > "$(DEST)/share/zsh/site-functions/_postrider"
	"$(BINARY)" completions fish > "$(DEST)/share/fish/vendor_completions.d/postrider.fish"
	"$(BINARY)" man --all "$(DEST)/share/man/man1"
	install -d "$(DEST)/share/man/man5" "$(DEST)/share/man/man7"
	mv "$(DEST)"/share/man/man1/*.5 "$(DEST)/share/man/man5/"
	mv "$(DEST)"/share/man/man1/*.7 "$(DEST)/share/man/man7/"

# The package for the Debian of this machine, in $(TARGET_DIR).
deb:
	scripts/need.sh deb
	scripts/deb.sh "$(BINARY)" "$(TARGET_DIR)"
