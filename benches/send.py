#!/usr/bin/env python3
"""Measures how fast a queue of outgoing messages drains: postrider, msmtp in a loop, nullmailer.

    benches/send.py [POSTRIDER] [--messages N] [--rounds N] [--dir DIR]

One run, all programs in turn in every round, medians. The server is a private Postfix with STARTTLS on a
free port of 127.0.0.1, which takes every message durably and discards it. postrider starts as a daemon
with its messages in the outbox, none of them claimed: what it does to be safe is in its time. msmtp has no
queue and syncs nothing. nullmailer starts with its messages in its queue.

Needs Postfix, msmtp, openssl, and nullmailer unpacked (scripts/need.sh bench), and root. Stops only what it
started.
"""

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BODY_BYTES = 10_000
LIMIT_SECS = 600
NULLMAILER = Path(os.environ.get("POSTRIDER_NULLMAILER", "/var/cache/postrider-test/nullmailer"))

MAIN = """
compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {dir}/postfix.log
maillog_file_prefixes = {dir}
myhostname = localhost
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
default_transport = discard
smtpd_tls_security_level = may
smtpd_tls_cert_file = {dir}/ca.pem
smtpd_tls_key_file = {dir}/key.pem
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_client_connection_rate_limit = 0
smtpd_error_sleep_time = 0
"""
MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup  unix n - n - 0 cleanup
qmgr     unix n - n 300 1 qmgr
rewrite  unix - - n - - trivial-rewrite
bounce   unix - - n - 0 bounce
defer    unix - - n - 0 bounce
trace    unix - - n - 0 bounce
proxymap unix - - n - - proxymap
anvil    unix - - n - 1 anvil
tlsmgr   unix - - n 1000? 1 tlsmgr
error    unix - - n - - error
retry    unix - - n - - error
discard  unix - - n - - discard
postlog  unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """Runs while the `with` block does."""

    def __init__(self, root):
        self.root = root

    def __enter__(self):
        os.environ["PATH"] += ":/usr/sbin:/sbin"
        for sub in ("conf", "queue", "data"):
            (self.root / sub).mkdir(parents=True)
        self.root.chmod(0o755)
        shutil.chown(self.root / "data", "postfix")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        keys = ["-keyout", str(self.root / "key.pem"), "-out", str(self.root / "ca.pem")]
        make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        subprocess.run(make + keys + names, check=True, capture_output=True)
        for name, text in (("main.cf", MAIN), ("master.cf", MASTER)):
            (self.root / "conf" / name).write_text(text.format(dir=self.root, port=self.port))
        conf = ["-c", str(self.root / "conf")]
        subprocess.run(["postfix", *conf, "check"], check=True, capture_output=True)
        self.process = subprocess.Popen(["/usr/lib/postfix/sbin/master", *conf, "-d"])
        wait(lambda: self.greets(), "postfix greets")
        return self

    def greets(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as client:
                return client.recv(3) == b"220"
        except OSError:
            return False

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def taken(self):
        """How many messages it took: each has its line when it is discarded."""
        return (self.root / "postfix.log").read_text().count("status=sent (")

    def empty(self):
        queue = self.root / "queue"
        return not any(files for sub in ("incoming", "active") for _, _, files in os.walk(queue / sub))


def wait(done, what):
    end = time.monotonic() + LIMIT_SECS
    while not done():
        if time.monotonic() > end:
            sys.exit(f"benches/send.py: not within {LIMIT_SECS} s: {what}")
        time.sleep(0.005)


def letters(name, count):
    """Yields messages of 10 KB, each with an id of its own."""
    line = "x" * 75 + "\n"
    for n in range(count):
        head = (
            f"From: me@localhost.example\nTo: you@example.net\nSubject: {n}\n"
            f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S +0000', time.gmtime())}\n"
            f"Message-ID: <{name}.{n}.{time.time_ns()}@localhost.example>\n\n"
        )
        yield (head + line * (BODY_BYTES // len(line))).encode()


def msmtp(binary, server, home, count):
    config = home / "msmtprc"
    config.write_text(
        f"account default\nhost localhost\nport {server.port}\ntls on\ntls_starttls on\n"
        f"tls_trust_file {server.root}/ca.pem\nfrom me@localhost.example\n"
    )
    config.chmod(0o600)
    files = []
    for n, letter in enumerate(letters("msmtp", count)):
        files.append(home / str(n))
        files[-1].write_bytes(letter)

    def go():
        for file in files:
            with file.open("rb") as text:
                subprocess.run(["msmtp", "-C", str(config), "-t"], stdin=text, check=True)

    return go, None


def nullmailer(binary, server, home, count):
    for sub in ("conf", "queue/queue", "queue/tmp", "queue/failed"):
        (home / sub).mkdir(parents=True)
    os.mkfifo(home / "queue" / "trigger")
    (home / "conf" / "me").write_text("localhost.example\n")
    (home / "conf" / "remotes").write_text(
        f"localhost smtp --port={server.port} --starttls --x509cafile={server.root}/ca.pem\n"
    )
    (home / "protocols").symlink_to(NULLMAILER / "usr/lib/nullmailer")
    for n, letter in enumerate(letters("nullmailer", count)):
        queued = b"me@localhost.example\nyou@example.net\n\n" + letter
        (home / "queue" / "queue" / f"1700000000.{n:05}").write_bytes(queued)
    environment = dict(os.environ, NULLMAILER_TEST_PREFIX=f"{home}/")
    return None, ([str(NULLMAILER / "usr/sbin/nullmailer-send")], environment)


def postrider(binary, server, home, count):
    config = home / "config.toml"
    config.write_text(
        f'[daemon]\nbus = "off"\n[outbox]\ndir = "{home}/Outbox"\n'
        f'[account.bench]\naddress = "me@localhost.example"\nmaildir = "{home}/Mail"\n'
        f'[account.bench.smtp]\nhost = "localhost"\nport = {server.port}\ntls = "starttls"\n'
        f'user = ""\nca_file = "{server.root}/ca.pem"\nsent_copy = "none"\n'
    )
    config.chmod(0o600)
    for sub in ("Outbox/new", "run"):
        (home / sub).mkdir(parents=True)
    for sub in ("Outbox", "Outbox/new", "run"):
        (home / sub).chmod(0o700)
    for n, letter in enumerate(letters("postrider", count)):
        (home / "Outbox" / "new" / str(n)).write_bytes(letter)
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_RUNTIME_DIR": str(home / "run"),
        "POSTRIDER_LOG": "warn",
    }
    return None, ([binary, "--config", str(config), "run"], environment)


def measure(program, binary, server, work, count):
    """Seconds until the server took all messages of a program."""
    home = Path(tempfile.mkdtemp(prefix=f"{program.__name__}-", dir=work))
    go, service = program(binary, server, home, count)
    os.sync()
    before = server.taken()
    begin = time.monotonic()
    if go:
        go()
        taken_at = time.monotonic()
    else:
        argv, environment = service
        log = (home / "log").open("wb")
        process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log)
        try:
            wait(lambda: done(server, before, count, process, home), f"{program.__name__} is done")
            taken_at = time.monotonic()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
    wait(lambda: server.taken() - before >= count, "the server took all")
    if server.taken() - before != count:
        sys.exit(f"{program.__name__}: {server.taken() - before} messages instead of {count}")
    shutil.rmtree(home)
    return taken_at - begin


def done(server, before, count, process, home):
    if process.poll() is not None:
        sys.exit((home / "log").read_text()[-2000:])
    return server.taken() - before >= count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("postrider", nargs="?", help="the program; left out: the others alone")
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", default="/var/tmp")
    args = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="postrider-send-", dir=args.dir))
    work.chmod(0o755)
    programs = [msmtp, nullmailer] + ([postrider] if args.postrider else [])
    results = {}
    try:
        with Postfix(work / "server") as server:
            for number in range(args.rounds):
                shift = number % len(programs)
                for program in programs[shift:] + programs[:shift]:
                    binary = args.postrider and os.path.abspath(args.postrider)
                    took = measure(program, binary, server, work, args.messages)
                    results.setdefault(program.__name__, []).append(took)
                    print(f"round {number + 1}: {program.__name__}: {took:.2f} s", flush=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    reference = statistics.median(results["msmtp"])
    print(f"\n{args.messages} messages of 10 KB\n\n| program | wall s | msmtp / it |\n|---|---|---|")
    for name, runs in sorted(results.items()):
        wall = statistics.median(runs)
        print(f"| {name} | {wall:.2f} | {reference / wall:.1f} |")
    print(f"\nmedians of {args.rounds} rounds, interleaved")


if __name__ == "__main__":
    main()
