#!/usr/bin/env python3
"""Measures postrider beside mbsync, mpop and the limit, against a private Dovecot over TLS.

    benches/run.py [POSTRIDER] [--messages N] [--uploads N] [--rounds N] [--dir DIR]

One run, all programs in turn in every round, medians. The server and all Maildirs lie in one
temporary directory below DIR (default /var/tmp: a disk, not memory). "limit" is what remains
when a program does nothing but what the job requires: it drains the same FETCH over one
connection; once into nothing, once into files with one barrier per 500.

Needs Dovecot 2.3 with POP3, mbsync, mpop and openssl. Starts one server on a free port of 127.0.0.1, and stops
only what it started.
"""

import argparse
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import limit
import server

RUN_SECS_MAX = 600
# A directory that changed a moment ago makes a careful syncer wait: not what is measured.
QUIET_SECS = 2
SEED = 20_000
BODY_MEDIAN_BYTES, BODY_SIGMA, BODY_BYTES_MAX = 6_000, 1.125, 4_000_000


class Result:
    """What one run of one program took."""

    def __init__(self, wall, cpu, rss_mib, error=""):
        self.wall, self.cpu, self.rss_mib, self.error = wall, cpu, rss_mib, error


def messages(seed, count):
    """Yields `count` messages with LF line ends, the same ones for the same seed."""
    rng = random.Random(seed)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    lines = ["".join(rng.choices(letters, k=76)) + "\n" for _ in range(4_000)]
    block = "".join(lines * 16).encode()
    for n in range(count):
        size = min(int(rng.lognormvariate(0, BODY_SIGMA) * BODY_MEDIAN_BYTES), BODY_BYTES_MAX)
        start = rng.randrange(4_000) * 77
        date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(1_600_000_000 + 600 * n))
        head = (
            f"From: Sender {n % 500} <s{n % 500}@example.org>\nTo: me@example.com\n"
            f"Subject: Message {n}\nDate: {date}\nMessage-ID: <{seed}.{n}@example.org>\n"
            "MIME-Version: 1.0\nContent-Type: text/plain; charset=us-ascii\n\n"
        )
        yield head.encode() + block[start : start + size] + b"\n"


def measure(argv, env):
    """Runs a program to its end. CPU is from wait4.

    The peak of memory is VmHWM: the rusage of a child also counts what this process had when it
    was forked.
    """
    os.sync()
    begin = time.monotonic()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        watchdog = threading.Timer(RUN_SECS_MAX, child.kill)
        watchdog.start()
        peak_kib = 0
        while True:
            peak_kib = high_water_kib(child.pid) or peak_kib
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(0.005)
        wall = time.monotonic() - begin
        watchdog.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        error = ""
        if child.returncode != 0:
            said.seek(0)
            last = said.read()[-2000:].decode(errors="replace").strip()
            error = f"exit {child.returncode}: {last}"
    return Result(wall, usage.ru_utime + usage.ru_stime, peak_kib / 1024, error)


def high_water_kib(pid):
    try:
        for line in open(f"/proc/{pid}/status"):
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


class Program:
    """A program under test, with a fresh home for every round."""

    name = ""
    # Bytes that the program adds to every message.
    added_bytes = 0

    def __init__(self, dovecot, work):
        self.dovecot, self.work = dovecot, work

    def prepare(self, user):
        """Makes an empty local side for a user of the server."""
        self.home = self.work / f"{self.name}-{user}"
        (self.home / "Mail" / "INBOX").mkdir(parents=True, mode=0o700)
        (self.home / "run").mkdir(mode=0o700)
        self.env = {
            "HOME": str(self.home),
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_RUNTIME_DIR": str(self.home / "run"),
        }
        self.config = self.home / "config.file"
        self.config.write_text(self.configuration(user))
        self.config.chmod(0o600)

    def inbox(self):
        return self.home / "Mail" / "INBOX"

    def sync(self):
        return measure(self.command(), self.env)

    def remove(self):
        shutil.rmtree(self.home)


class Mbsync(Program):
    name = "mbsync"
    added_bytes = len("X-TUID: 123456789012\n")

    def configuration(self, user):
        for sub in ("cur", "new", "tmp"):
            (self.home / "Mail" / "INBOX" / sub).mkdir()
        return f"""FSync yes
IMAPAccount server
Host localhost
Port {self.dovecot.port}
User {user}
Pass {self.dovecot.password}
SSLType IMAPS
SystemCertificates no
CertificateFile {self.dovecot.ca}

IMAPStore far
Account server

MaildirStore near
Path {self.home}/Mail/
Inbox {self.home}/Mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns INBOX
Create Both
Sync All
Expunge Both
CopyArrivalDate yes
SyncState *
"""

    def command(self):
        return ["mbsync", "-c", str(self.config), "all"]


class Postrider(Program):
    name = "postrider"
    binary = ""
    protocol = "imap"
    more = '[account.bench.sync]\nmailboxes = ["INBOX"]\n'

    def port(self):
        return self.dovecot.port

    def configuration(self, user):
        (self.home / "Mail" / "INBOX").rmdir()
        return f"""[daemon]
bus = "off"
[outbox]
dir = "{self.home}/Outbox"
[account.bench]
address = "{user}@localhost"
password = "{self.dovecot.password}"
maildir = "{self.home}/Mail"
[account.bench.{self.protocol}]
host = "localhost"
port = {self.port()}
tls = "implicit"
user = "{user}"
ca_file = "{self.dovecot.ca}"
{self.more}"""

    def command(self):
        return [self.binary, "--config", str(self.config), "sync"]


class Mpop(Program):
    """Fetches by POP3; it syncs each file and its directory, as postrider does in batches."""

    name = "mpop"

    def configuration(self, user):
        for sub in ("cur", "new", "tmp"):
            (self.home / "Mail" / "INBOX" / sub).mkdir()
        return f"""account bench
host localhost
port {self.dovecot.pop_port}
tls on
tls_starttls off
tls_trust_file {self.dovecot.ca}
user {user}
password {self.dovecot.password}
auth plain
keep on
received_header off
uidls_file {self.home}/uidls
delivery maildir {self.home}/Mail/INBOX
"""

    def command(self):
        return ["mpop", "-q", "-C", str(self.config), "bench"]


class PostriderPop(Postrider):
    name = "postrider (POP3)"
    protocol = "pop3"
    more = ""

    def port(self):
        return self.dovecot.pop_port


class Limit(Program):
    """Not a syncer: the FETCH alone, into nothing or into files."""

    def __init__(self, dovecot, work, mode):
        super().__init__(dovecot, work)
        self.mode, self.name = mode, f"limit ({mode})"

    def configuration(self, user):
        self.user = user
        for sub in ("cur", "new", "tmp"):
            (self.home / "Mail" / "INBOX" / sub).mkdir()
        return ""

    def command(self):
        server = [str(self.dovecot.port), str(self.dovecot.ca), self.user, self.dovecot.password]
        return [sys.executable, limit.__file__, self.mode, *server, str(self.inbox())]


def stored(maildir):
    """How many messages a Maildir holds, and their bytes."""
    count = total = 0
    for sub in ("new", "cur"):
        for entry in os.scandir(maildir / sub):
            count += 1
            total += entry.stat().st_size
    return count, total


def download(program, wanted):
    """Initial sync, then a pass with nothing to do."""
    program.prepare("reader")
    first = program.sync()
    second = None
    if not first.error and not (isinstance(program, Limit) and program.mode == "drain"):
        count, total = wanted
        total += count * program.added_bytes
        if (found := stored(program.inbox())) != (count, total):
            first.error = f"{found} messages and bytes instead of {count, total}"
    if not isinstance(program, Limit) and not first.error:
        time.sleep(QUIET_SECS)
        second = program.sync()
    program.remove()
    return first, second


def upload(program, user, count):
    """Uploads `count` new local messages to a user whose mailbox is empty."""
    program.dovecot.add_user(user, [])
    program.prepare(user)
    result = program.sync()
    if not result.error:
        for n, message in enumerate(messages(SEED + 1, count)):
            name = f"{1_700_000_000 + n}.{n}.bench"
            staged = program.inbox() / "tmp" / name
            staged.write_bytes(message)
            staged.rename(program.inbox() / "cur" / f"{name}:2,S")
        time.sleep(QUIET_SECS)
        result = program.sync()
        found = program.dovecot.count(user)
        if not result.error and found != count:
            result.error = f"{found} messages on the server instead of {count}"
    program.remove()
    program.dovecot.remove_user(user)
    return result


def report(results, args):
    """Prints medians and their ratio to mbsync, or to mpop."""
    reference = {}
    for (job, name), runs in results.items():
        if name in ("mbsync", "mpop") and all(not run.error for run in runs):
            reference[job] = statistics.median(run.wall for run in runs)
    print(f"\n| job | program | wall s | CPU s | peak MiB | wall / other |")
    print("|---|---|---|---|---|---|")
    for (job, name), runs in sorted(results.items()):
        errors = [run.error for run in runs if run.error]
        if errors:
            print(f"| {job} | {name} | failed: {errors[0][:300]} | | | |")
            continue
        wall, cpu, rss = (
            statistics.median(getattr(run, what) for run in runs)
            for what in ("wall", "cpu", "rss_mib")
        )
        ratio = f"{wall / reference[job]:.2f}" if job in reference else ""
        print(f"| {job} | {name} | {wall:.2f} | {cpu:.2f} | {rss:.1f} | {ratio} |")
    print(f"\nmedians of {args.rounds} rounds, interleaved; {machine(args.dir)}")


def machine(path):
    cpu = "unknown CPU"
    try:
        names = [line for line in open("/proc/cpuinfo") if line.startswith("model name")]
        cpu = f"{len(names)} x {names[0].split(':', 1)[1].strip()}"
    except (OSError, IndexError):
        pass
    df = ["df", "--output=fstype", path]
    filesystem = subprocess.run(df, capture_output=True, text=True, check=False).stdout
    filesystem = filesystem.split()[-1] if filesystem else "unknown file system"
    versions = [server.version(["dovecot", "--version"]), server.version(["mbsync", "--version"])]
    versions.append(server.version(["mpop", "--version"]))
    system = f"{cpu}; Linux {os.uname().release}; {filesystem}"
    return f"{system}; Dovecot {versions[0]}; {versions[1]}; {versions[2]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("postrider", nargs="?", help="the program; left out: the others alone")
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--uploads", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only-pop3", action="store_true")
    parser.add_argument("--dir", default="/var/tmp")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    work = Path(tempfile.mkdtemp(prefix="postrider-bench-", dir=args.dir))
    work.chmod(0o755)
    try:
        with server.Dovecot(work / "server") as dovecot:
            wanted = dovecot.add_user("reader", messages(SEED, args.messages))
            print(f"the server holds {wanted[0]} messages, {wanted[1] / 1e6:.0f} MB", flush=True)
            dovecot.warm_up("reader")
            programs = [Limit(dovecot, work, "drain"), Limit(dovecot, work, "files")]
            programs.append(Mbsync(dovecot, work))
            if args.postrider:
                Postrider.binary = os.path.abspath(args.postrider)
                programs.append(Postrider(dovecot, work))
            pop = [Mpop(dovecot, work)]
            if args.postrider:
                pop.append(PostriderPop(dovecot, work))
            results = {}
            for number in range(args.rounds):
                if not args.only_pop3:
                    rounds(number, programs, wanted, args, results)
                pop_rounds(number, pop, wanted, results)
            report(results, args)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 1 if any(run.error for runs in results.values() for run in runs) else 0


def noter(number, results):
    """Keeps and shows what a run took."""

    def note(job, program, result):
        results.setdefault((job, program.name), []).append(result)
        shown = result.error[:200] or f"{result.wall:.2f} s, CPU {result.cpu:.2f} s"
        print(f"round {number + 1}: {job}: {program.name}: {shown}", flush=True)

    return note


def pop_rounds(number, programs, wanted, results):
    """One round by POP3: fetch all and leave it there, then again with nothing new."""
    note = noter(number, results)
    for program in programs if number % 2 == 0 else reversed(programs):
        first, second = download(program, wanted)
        note("4 POP3: all of it", program, first)
        if second:
            note("5 POP3: nothing new", program, second)


def rounds(number, programs, wanted, args, results):
    """One round: every program once for every job, beginning with another one each time."""
    note = noter(number, results)
    shift = number % len(programs)
    for program in programs[shift:] + programs[:shift]:
        first, second = download(program, wanted)
        note("1 initial sync", program, first)
        if second:
            note("2 nothing to do", program, second)
        if not isinstance(program, Limit):
            user = f"up-{program.name}-{number}"
            note("3 uploads", program, upload(program, user, args.uploads))


if __name__ == "__main__":
    sys.exit(main())
