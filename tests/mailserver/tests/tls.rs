//! Implicit TLS and STARTTLS.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use native_tls::{Certificate, TlsConnector, TlsStream};
use postrider_mailserver::{Config, MailServer, Tls, TlsMode};

fn server(mode: TlsMode) -> (MailServer, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate_pem = made.cert.pem().into_bytes();
    let key_pem = made.signing_key.serialize_pem().into_bytes();
    let root = Certificate::from_pem(&certificate_pem).unwrap();
    let connector = TlsConnector::builder().add_root_certificate(root).build().unwrap();
    let tls = Some(Tls { mode, certificate_pem, key_pem });
    (MailServer::start(Config { tls, ..Config::default() }).unwrap(), connector)
}

fn line(stream: &mut impl Read) -> String {
    let mut line = String::new();
    BufReader::with_capacity(1, stream).read_line(&mut line).unwrap();
    line
}

fn upgraded(
    address: SocketAddr,
    connector: &TlsConnector,
    command: &str,
    lines: usize,
) -> TlsStream<TcpStream> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(command.as_bytes()).unwrap();
    for _ in 0..lines {
        line(&mut stream);
    }
    connector.connect("localhost", stream).unwrap()
}

#[test]
fn implicit_tls_greets_after_the_handshake() {
    let (server, connector) = server(TlsMode::Implicit);
    let mut imap = upgraded(server.imap_addr(), &connector, "", 0);
    assert!(line(&mut imap).starts_with("* OK "));
    let mut smtp = upgraded(server.smtp_addr(), &connector, "", 0);
    assert!(line(&mut smtp).starts_with("220 "));
}

#[test]
fn starttls_drops_what_was_injected_before_the_handshake() {
    let (server, connector) = server(TlsMode::StartTls);
    let commands = "a STARTTLS\r\nb NOOP\r\n";
    let mut imap = upgraded(server.imap_addr(), &connector, commands, 2);
    imap.write_all(b"c LOGIN user secret\r\n").unwrap();
    let reply = line(&mut imap);
    assert!(reply.starts_with("c OK ") && !reply.contains("STARTTLS"), "{reply}");
    let names: Vec<String> = server.commands().into_iter().map(|command| command.name).collect();
    assert_eq!(names, ["STARTTLS", "LOGIN"]);
}

#[test]
fn smtp_forgets_ehlo_after_starttls() {
    let (server, connector) = server(TlsMode::StartTls);
    let mut smtp = upgraded(server.smtp_addr(), &connector, "STARTTLS\r\n", 2);
    smtp.write_all(b"MAIL FROM:<a@b.c>\r\n").unwrap();
    assert!(line(&mut smtp).starts_with("503 "));
}
