"""The least that an initial sync has to do: one connection, a few FETCH commands in flight.

    limit.py drain|files PORT CA USER PASSWORD MAILDIR

`drain` drops the messages; `files` turns CRLF into LF and writes one file each, with one barrier
(syncfs) per 500 messages before they become visible.
"""

import ctypes
import os
import re
import socket
import ssl
import sys

BATCH_UIDS, COMMANDS_IN_FLIGHT, BARRIER_MESSAGES = 250, 4, 500


class Connection:
    """Lines and literals of an IMAP connection."""

    def __init__(self, port, ca, user, password):
        context = ssl.create_default_context(cafile=ca)
        raw = socket.create_connection(("127.0.0.1", port), 60)
        self.tls = context.wrap_socket(raw, server_hostname="localhost")
        self.stream = self.tls.makefile("rb", buffering=1 << 18)
        self.stream.readline()
        self.ask("l", f"LOGIN {user} {password}")

    def send(self, tag, command):
        self.tls.sendall(f"{tag} {command}\r\n".encode())

    def line(self):
        line = self.stream.readline()
        if not line:
            sys.exit("the server closed the connection")
        return line

    def ask(self, tag, command):
        """Sends a command; answers its untagged lines."""
        self.send(tag, command)
        lines = []
        while not (line := self.line()).startswith(tag.encode() + b" "):
            lines.append(line)
        if not line.startswith(tag.encode() + b" OK"):
            sys.exit(f"{command.split()[0]}: {line.decode()}")
        return lines


def bodies(connection):
    """Yields every message of the inbox, as it came over the wire."""
    connection.ask("s", "SELECT INBOX")
    found = b"".join(connection.ask("u", "UID SEARCH ALL"))
    uids = [int(uid) for uid in re.findall(rb"\d+", found)]
    batches = [uids[n : n + BATCH_UIDS] for n in range(0, len(uids), BATCH_UIDS)]
    commands = [
        (f"f{n}", f"UID FETCH {batch[0]}:{batch[-1]} (UID FLAGS INTERNALDATE BODY.PEEK[])")
        for n, batch in enumerate(batches)
    ]
    for tag, command in commands[:COMMANDS_IN_FLIGHT]:
        connection.send(tag, command)
    for number, (tag, _) in enumerate(commands):
        done = tag.encode() + b" "
        while not (line := connection.line()).startswith(done):
            if line.endswith(b"}\r\n"):
                yield connection.stream.read(int(line[line.rindex(b"{") + 1 : -3]))
        if not line.startswith(done + b"OK"):
            sys.exit(line.decode())
        for waiting in commands[number + COMMANDS_IN_FLIGHT :][:1]:
            connection.send(*waiting)


def publish(names, directories):
    """Makes files durable with one barrier, then visible, then that durable."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(directories["tmp"]) != 0:
        sys.exit("syncfs failed")
    for name in names:
        os.rename(
            name, f"{name}:2,", src_dir_fd=directories["tmp"], dst_dir_fd=directories["cur"]
        )
    os.fsync(directories["cur"])


def main():
    mode, port, ca, user, password, maildir = sys.argv[1:]
    connection = Connection(int(port), ca, user, password)
    if mode == "drain":
        for _ in bodies(connection):
            pass
        return
    directories = {
        sub: os.open(f"{maildir}/{sub}", os.O_RDONLY | os.O_DIRECTORY) for sub in ("tmp", "cur")
    }
    names = []
    for number, body in enumerate(bodies(connection)):
        name = f"{number}.limit"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        file = os.open(name, flags, 0o600, dir_fd=directories["tmp"])
        os.write(file, body.replace(b"\r\n", b"\n"))
        os.close(file)
        names.append(name)
        if len(names) == BARRIER_MESSAGES:
            publish(names, directories)
            names.clear()
    if names:
        publish(names, directories)


if __name__ == "__main__":
    main()
