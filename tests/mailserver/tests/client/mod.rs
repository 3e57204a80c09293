//! A client that knows nothing: it sends bytes and reads lines.

// Each test file uses its part of it.
#![allow(dead_code, unreachable_pub)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use postrider_mailserver::MailServer;

pub struct Client {
    stream: BufReader<TcpStream>,
    next_tag: u32,
}

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut client = Self { stream: BufReader::new(stream), next_tag: 0 };
        client.line();
        client
    }

    pub fn imap(server: &MailServer) -> Self {
        Self::connect(server.imap_addr())
    }

    pub fn smtp(server: &MailServer) -> Self {
        Self::connect(server.smtp_addr())
    }

    pub fn logged_in(server: &MailServer) -> Self {
        let mut client = Self::imap(server);
        client.login();
        client
    }

    pub fn login(&mut self) {
        assert!(self.run("LOGIN user secret").contains(" OK "));
    }

    pub fn send(&mut self, bytes: &str) {
        self.stream.get_mut().write_all(bytes.as_bytes()).unwrap();
    }

    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).unwrap();
        String::from_utf8(line).unwrap()
    }

    /// Sends an IMAP command and returns all up to its tagged reply.
    pub fn run(&mut self, command: &str) -> String {
        self.next_tag += 1;
        let tag = format!("t{}", self.next_tag);
        self.send(&format!("{tag} {command}\r\n"));
        let mut all = String::new();
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "the connection ended after {all}");
            all.push_str(&line);
            if line.starts_with(&format!("{tag} ")) {
                return all;
            }
        }
    }

    /// Sends an SMTP command and returns its whole reply.
    pub fn reply(&mut self, command: &str) -> String {
        self.send(&format!("{command}\r\n"));
        let mut all = String::new();
        loop {
            let line = self.line();
            all.push_str(&line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return all;
            }
        }
    }

    /// Returns what is left until the server ends the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        rest
    }
}
