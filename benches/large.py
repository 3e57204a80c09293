#!/usr/bin/env python3
"""Measures how work grows with the mailbox: many small messages, then few changes among them.

    benches/large.py [POSTRIDER] [--messages N,N,...] [--dir DIR] [--only NAME]

For every size: the initial sync, a pass with nothing to do, and a pass after another client changed
100 flags, added 50 messages and expunged 50. mbsync does the same to the same mailbox. One round:
these jobs are long, and what counts is how they grow. run.py compares medians.
"""

import argparse
import os
import random
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import time
from pathlib import Path

import run
import server

FLAGGED, ADDED, EXPUNGED = 100, 50, 50
BODY_MEDIAN_BYTES = 400


class Client:
    """As much of IMAP as another mail reader needs to change things."""

    def __init__(self, dovecot, user):
        context = ssl.create_default_context(cafile=str(dovecot.ca))
        raw = socket.create_connection(("127.0.0.1", dovecot.port), 60)
        self.tls = context.wrap_socket(raw, server_hostname="localhost")
        self.lines = self.tls.makefile("rb")
        self.lines.readline()
        self.command(f"LOGIN {user} {dovecot.password}")

    def command(self, text, literal=None):
        """Sends a command, and answers the untagged lines before its OK."""
        self.tls.sendall(f"a {text}\r\n".encode())
        said = []
        while not (line := self.lines.readline()).startswith(b"a "):
            if line.startswith(b"+"):
                self.tls.sendall(literal + b"\r\n")
            elif not line:
                sys.exit("the server closed the connection")
            said.append(line)
        if not line.startswith(b"a OK"):
            sys.exit(f"{text}: {line.decode()}")
        return said

    def change(self, seed):
        """Flags, new messages, expunged ones, at random places of the mailbox."""
        self.command("SELECT INBOX")
        said = b"".join(self.command("UID SEARCH ALL"))
        uids = [int(word) for word in said.split() if word.isdigit()]
        chosen = random.Random(seed).sample(uids, FLAGGED + EXPUNGED)
        flagged, gone = chosen[:FLAGGED], chosen[FLAGGED:]
        self.command(f"UID STORE {','.join(map(str, flagged))} +FLAGS (\\Answered)")
        self.command(f"UID STORE {','.join(map(str, gone))} +FLAGS (\\Deleted)")
        self.command("EXPUNGE")
        for message in run.messages(seed, ADDED):
            message = message.replace(b"\n", b"\r\n")
            self.command(f"APPEND INBOX {{{len(message)}}}", message)
        self.tls.close()


def jobs(programs, dovecot, user, count):
    """All jobs of one size; a line of the table for every program."""
    rows = []
    for program in programs:
        program.prepare(user)
        rows.append([program, program.sync()])
    time.sleep(run.QUIET_SECS)
    for row in rows:
        row.append(row[0].sync())
    for seed in range(2):
        Client(dovecot, user).change(count + seed)
        time.sleep(run.QUIET_SECS)
        for row in rows:
            row.append(row[0].sync())
            if not row[-1].error:
                row[-1].error = disagreement(row[0], dovecot, user)
    for program in programs:
        program.remove()
    return rows


def disagreement(program, dovecot, user):
    here, there = run.stored(program.inbox())[0], dovecot.count(user)
    return "" if here == there else f"{here} messages here, {there} on the server"


def report(count, rows):
    for program, *results in rows:
        names = ("initial sync", "nothing to do", "first change", "second change")
        for name, result in zip(names, results):
            shown = result.error[:200] or (
                f"{result.wall:.2f} s, CPU {result.cpu:.2f} s, peak {result.rss_mib:.1f} MiB"
            )
            print(f"| {count} | {name} | {program.name} | {shown} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("postrider", nargs="?", help="the program; left out: mbsync alone")
    parser.add_argument("--messages", default="5000,80000,200000")
    parser.add_argument("--dir", default="/var/tmp")
    parser.add_argument("--only", default="", help="only the program of this name")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run.BODY_MEDIAN_BYTES = BODY_MEDIAN_BYTES

    work = Path(tempfile.mkdtemp(prefix="postrider-bench-", dir=args.dir))
    work.chmod(0o755)
    is_failed = False
    try:
        with server.Dovecot(work / "server") as dovecot:
            programs = [run.Mbsync(dovecot, work)]
            if args.postrider:
                run.Postrider.binary = os.path.abspath(args.postrider)
                programs.append(run.Postrider(dovecot, work))
            programs = [p for p in programs if args.only in ("", p.name)]
            for count in map(int, args.messages.split(",")):
                user = f"large{count}"
                wanted = dovecot.add_user(user, run.messages(run.SEED, count))
                print(f"{wanted[0]} messages, {wanted[1] / 1e6:.0f} MB", flush=True)
                dovecot.warm_up(user)
                rows = jobs(programs, dovecot, user, count)
                report(count, rows)
                is_failed |= any(result.error for _, *results in rows for result in results)
                dovecot.remove_user(user)
        print(run.machine(args.dir))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 1 if is_failed else 0


if __name__ == "__main__":
    sys.exit(main())
