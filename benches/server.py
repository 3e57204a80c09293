"""A private Dovecot 2.3 with TLS on a free port of 127.0.0.1, in a directory of its own."""

import os
import pwd
import shutil
import socket
import ssl
import subprocess
import sys
import time


def version(argv):
    """The first line of what a program says about its version."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).splitlines()[0].split(" (")[0]


class Dovecot:
    """Runs while the `with` block does. Every user has the same password and an own Maildir."""

    password = "bench"

    def __init__(self, root):
        self.root = root
        self.ca = root / "ca.pem"
        self.users = root / "users"
        os.environ["PATH"] += ":/usr/sbin:/sbin"
        # Dovecot reads no mail as root.
        self.as_root = os.geteuid() == 0
        self.owner = pwd.getpwnam("nobody") if self.as_root else pwd.getpwuid(os.geteuid())

    def __enter__(self):
        if not version(["dovecot", "--version"]).startswith("2.3"):
            sys.exit("benches/server.py: the configuration is for Dovecot 2.3")
        self.users.mkdir(parents=True)
        self.users.parent.chmod(0o755)
        self.own(self.users)
        self.certificate()
        with socket.socket() as probe, socket.socket() as other:
            probe.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            self.port, self.pop_port = probe.getsockname()[1], other.getsockname()[1]
        config = self.root / "dovecot.conf"
        config.write_text(self.configuration())
        self.process = subprocess.Popen(["dovecot", "-F", "-c", str(config)])
        try:
            self.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def own(self, path):
        if self.as_root:
            os.chown(path, self.owner.pw_uid, self.owner.pw_gid)

    def certificate(self):
        openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        files = ["-keyout", str(self.root / "key.pem"), "-out", str(self.ca)]
        subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        subprocess.run(openssl + files + subject, check=True, capture_output=True)

    def configuration(self):
        me = self.owner.pw_name
        internal = "" if self.as_root else f"default_internal_user = {me}\ndefault_login_user = {me}\n"
        return f"""base_dir = {self.root}/run
state_dir = {self.root}/state
log_path = {self.root}/dovecot.log
protocols = imap pop3
listen = 127.0.0.1
{internal}ssl = required
ssl_cert = <{self.ca}
ssl_key = <{self.root}/key.pem
mail_location = maildir:~/Maildir
mail_fsync = never
mail_max_userip_connections = 100
first_valid_uid = 1
passdb {{
  driver = static
  args = password={self.password}
}}
userdb {{
  driver = static
  args = uid={self.owner.pw_uid} gid={self.owner.pw_gid} home={self.users}/%u
}}
service anvil {{
  chroot =
}}
service imap-login {{
  chroot =
  service_count = 0
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {self.port}
    ssl = yes
  }}
}}
service pop3-login {{
  chroot =
  service_count = 0
  inet_listener pop3 {{
    port = 0
  }}
  inet_listener pop3s {{
    port = {self.pop_port}
    ssl = yes
  }}
}}
"""

    def wait(self):
        end = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < end:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1):
                    return
            except OSError:
                time.sleep(0.05)
        log = self.root / "dovecot.log"
        sys.exit("dovecot did not start: " + (log.read_text() if log.exists() else "no log"))

    def add_user(self, user, messages):
        """Fills a user's inbox; answers how many messages and bytes it holds."""
        home = self.users / user
        maildir = home / "Maildir"
        for path in (home, maildir, maildir / "cur", maildir / "new", maildir / "tmp"):
            path.mkdir()
            self.own(path)
        count = total = 0
        for count, message in enumerate(messages, 1):
            crlf_bytes = len(message) + message.count(b"\n")
            flags = ("", "S", "S", "S", "FS", "RS")[count % 6]
            name = f"{1_600_000_000 + count}.M{count}.bench,S={len(message)},W={crlf_bytes}:2,{flags}"
            path = maildir / "cur" / name
            path.write_bytes(message)
            os.utime(path, (1_600_000_000 + 600 * count,) * 2)
            self.own(path)
            total += len(message)
        return count, total

    def remove_user(self, user):
        shutil.rmtree(self.users / user, ignore_errors=True)

    def count(self, user):
        maildir = self.users / user / "Maildir"
        return sum(len(os.listdir(maildir / sub)) for sub in ("new", "cur"))

    def warm_up(self, user):
        """Lets the server index the mailbox, so that no program under test pays for it."""
        context = ssl.create_default_context(cafile=str(self.ca))
        raw = socket.create_connection(("127.0.0.1", self.port), 60)
        with context.wrap_socket(raw, server_hostname="localhost") as tls:
            lines = tls.makefile("rb")
            lines.readline()
            for tag, command in (
                ("a", f"LOGIN {user} {self.password}"),
                ("b", "SELECT INBOX"),
                ("c", "UID FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE)"),
            ):
                tls.sendall(f"{tag} {command}\r\n".encode())
                while not (line := lines.readline()).startswith(f"{tag} ".encode()):
                    if not line:
                        sys.exit("the server closed the connection")
                if b" OK" not in line:
                    sys.exit(f"warm-up: {command}: {line.decode()}")
