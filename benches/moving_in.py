#!/usr/bin/env python3
"""Lets another program fill a Maildir, and measures how postrider takes it over.

    benches/moving_in.py POSTRIDER [--messages N] [--with mbsync|offlineimap] [--dir DIR]

The configuration is the one that `postrider import` makes. The run fails if the first pass fetched a body,
uploaded or doubled a message, or if the second one did anything.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import run
import server

MBSYNC = """IMAPAccount work
Host localhost
Port {port}
User {user}
PassCmd "echo {password}"
SSLType IMAPS
CertificateFile {ca}

IMAPStore far
Account work

MaildirStore near
Path {maildir}/
Inbox {maildir}/INBOX
SubFolders Verbatim

Channel work
Far :far:
Near :near:
Patterns *
Create Both
SyncState *
"""

OFFLINEIMAP = """[general]
accounts = work
ui = quiet
fsync = false

[Account work]
localrepository = near
remoterepository = far

[Repository near]
type = Maildir
localfolders = {maildir}

[Repository far]
type = IMAP
remotehost = localhost
remoteport = {port}
remoteuser = {user}
remotepassfile = {passfile}
ssl = yes
sslcacertfile = {ca}
"""

PROGRAMS = {
    "mbsync": (MBSYNC, lambda rc: ["mbsync", "-c", rc, "-a"]),
    "offlineimap": (OFFLINEIMAP, lambda rc: ["offlineimap", "-o", "-c", rc]),
}


def bodies(dovecot):
    """How many bodies the server handed out, in all sessions that are logged."""
    log = (dovecot.root / "dovecot.log").read_text()
    return sum(map(int, re.findall(r"body_count=(\d+)", log)))


def settled(dovecot):
    """[`bodies`] once nothing is added any more: sessions are logged a little late."""
    before = -1
    while (now := bodies(dovecot)) != before:
        before = now
        time.sleep(2)
    return now


def timed(argv, env):
    start = time.monotonic()
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{argv[0]}: exit {done.returncode}: {done.stderr[-2000:]}")
    return time.monotonic() - start, done.stdout


def moved_in(dovecot, work, args):
    user, home = "moving", work / "home"
    maildir, state = home / "Mail/work", home / "state"
    for path in (maildir, state, work / "run"):
        path.mkdir(parents=True)
    (work / "run").chmod(0o700)
    passfile = work / "password"
    passfile.write_text(dovecot.password + "\n")
    passfile.chmod(0o600)
    wanted, _ = dovecot.add_user(user, run.messages(run.SEED, args.messages))
    dovecot.warm_up(user)
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_STATE_HOME": str(state),
           "XDG_CONFIG_HOME": str(home), "XDG_RUNTIME_DIR": str(work / "run")}
    text, command = PROGRAMS[args.program]
    rc = work / "rc"
    rc.write_text(text.format(port=dovecot.port, user=user, password=dovecot.password,
                              ca=dovecot.ca, maildir=maildir, passfile=passfile))
    filled, _ = timed(command(str(rc)), env)
    fetched = settled(dovecot)
    print(f"| {args.program} fills the Maildir | {wanted} messages | {filled:.1f} s | {fetched} bodies |")

    binary = os.path.abspath(args.postrider)
    _, toml = timed([binary, "import", str(rc)], env)
    config = work / "config.toml"
    config.write_text(toml)
    config.chmod(0o600)
    sync = [binary, "--config", str(config), "sync", "--json"]
    for name in ("first pass", "second pass"):
        took, report = timed(sync, env)
        moved = sum(
            mailbox[key]
            for account in json.loads(report)["accounts"]
            for mailbox in account["mailboxes"]
            for key in ("downloaded", "uploaded", "deleted_local", "deleted_remote", "failed")
        )
        more = settled(dovecot) - fetched
        print(f"| postrider, {name} | {moved} moved | {took:.1f} s | {more} bodies |")
        here, there = run.stored(maildir / "INBOX")[0], dovecot.count(user)
        if moved or more or (here, there) != (wanted, wanted):
            sys.exit(f"{name}: {moved} moved, {more} bodies, {here} here, {there} there")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("postrider")
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--with", dest="program", choices=PROGRAMS, default="offlineimap")
    parser.add_argument("--dir", default="/var/tmp")
    args = parser.parse_args()
    run.BODY_MEDIAN_BYTES = 400
    work = Path(tempfile.mkdtemp(prefix="postrider-bench-", dir=args.dir))
    work.chmod(0o755)
    try:
        with server.Dovecot(work / "server") as dovecot:
            moved_in(dovecot, work, args)
        print(run.machine(args.dir))
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
