use super::*;
use rcgen::PublicKeyData;
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn endpoint(host: &str, port: u16, tls: Tls) -> Endpoint {
    Endpoint::bare(host.to_owned(), port, tls, Duration::from_secs(10))
}

struct Peer {
    port: u16,
    cert_pem: String,
    key_info: [u8; 32],
    thread: std::thread::JoinHandle<Option<Vec<u8>>>,
}

/// A TLS echo of one line, with a certificate for these names and this validity.
fn tls_peer(names: &[&str], until: i32) -> Peer {
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names.clone()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, names.concat());
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let cert_pem = params.self_signed(&key).unwrap().pem();
    let ours =
        native_tls::Identity::from_pkcs8(cert_pem.as_bytes(), key.serialize_pem().as_bytes());
    let acceptor = native_tls::TlsAcceptor::new(ours.unwrap()).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (tcp, _) = listener.accept().ok()?;
        let mut tls = acceptor.accept(tcp).ok()?;
        let mut line = [0; 5];
        let got = tls.read_exact(&mut line).ok().map(|()| line.to_vec());
        let _sent = tls.write_all(&line);
        got
    });
    let key_info = Sha256::digest(key.subject_public_key_info()).into();
    Peer { port, cert_pem, key_info, thread }
}

fn pem_file(dir: &tempfile::TempDir, parts: &[&str]) -> PathBuf {
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, parts.concat()).unwrap();
    path
}

async fn echo(mut stream: Stream) {
    assert!(stream.is_encrypted());
    stream.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
}

#[tokio::test]
async fn a_line_that_is_hung_up_ends_its_connections_and_no_later_one() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = endpoint("127.0.0.1", listener.local_addr().unwrap().port(), Tls::None);
    let line = Line::default();
    let mut silent = dial(&at, "IMAP").await.unwrap().on(&line);
    let (mut byte, mut other) = ([0; 1], [0; 1]);
    let waits = silent.read(&mut byte);
    let hung_up = async {
        // What waits already is told as well.
        tokio::task::yield_now().await;
        line.hang_up();
    };
    let (told, ()) = tokio::join!(waits, hung_up);
    assert_eq!(told.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    assert!(silent.write(b"x").await.is_err());
    drop(listener.accept().await.unwrap());
    let mut later = dial(&at, "IMAP").await.unwrap().on(&line);
    let (mut server, _) = listener.accept().await.unwrap();
    server.write_all(b"x").await.unwrap();
    assert_eq!(later.read(&mut other).await.unwrap(), 1);
}

#[tokio::test]
async fn a_root_in_ca_file_is_trusted_even_as_the_second_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let peer = tls_peer(&["localhost"], 2090);
    let other = tls_peer(&["other"], 2090);
    let mut at = endpoint("localhost", peer.port, Tls::Implicit);
    at.ca_file = Some(pem_file(&dir, &[&other.cert_pem, &peer.cert_pem]));
    echo(dial(&at, "IMAP").await.unwrap()).await;
    drop(std::net::TcpStream::connect(("127.0.0.1", other.port)));
    peer.thread.join().unwrap().unwrap();
}

#[tokio::test]
async fn unknown_roots_wrong_names_and_old_certificates_are_refused_with_a_cure() {
    let dir = tempfile::tempdir().unwrap();
    for (names, until, trusted, words) in [
        (["localhost"], 2090, false, "ca_file"),
        (["elsewhere.example"], 2090, true, "another name"),
        (["localhost"], 2021, true, "check the clock"),
    ] {
        let peer = tls_peer(&names, until);
        let mut at = endpoint("localhost", peer.port, Tls::Implicit);
        at.ca_file = trusted.then(|| pem_file(&dir, &[&peer.cert_pem]));
        let failure = dial(&at, "IMAP").await.unwrap_err();
        assert_eq!(failure.kind, Kind::TlsUntrusted, "{failure}");
        assert!(failure.to_string().contains(words), "{failure}");
        assert_eq!(peer.thread.join().unwrap(), None);
    }
}

#[tokio::test]
async fn a_pin_accepts_its_key_and_no_other() {
    let peer = tls_peer(&["whatever"], 2021);
    let mut at = endpoint("127.0.0.1", peer.port, Tls::Implicit);
    at.pin_sha256 = Some(peer.key_info);
    echo(dial(&at, "IMAP").await.unwrap()).await;

    let peer = tls_peer(&["localhost"], 2090);
    at.port = peer.port;
    let failure = dial(&at, "IMAP").await.unwrap_err();
    assert_eq!((failure.kind, failure.remedy), (Kind::TlsUntrusted, Remedy::Never));
    assert_eq!(peer.thread.join().unwrap(), None, "no byte may reach the wrong peer");
}

#[tokio::test]
async fn plain_text_on_a_tls_port_is_named() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = endpoint("localhost", listener.local_addr().unwrap().port(), Tls::Implicit);
    let serve = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b"220 plain.example ESMTP\r\n").await.unwrap();
        let mut sink = Vec::new();
        let _read = tcp.read_to_end(&mut sink).await;
    };
    let (failure, ()) = tokio::join!(dial(&at, "SMTP"), serve);
    let failure = failure.unwrap_err();
    assert_eq!(failure.kind, Kind::NotEncrypted, "{failure}");
    assert!(failure.detail.as_deref().unwrap().contains("does not speak TLS"), "{failure}");
}

#[tokio::test]
async fn a_silent_peer_costs_one_deadline() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut at = endpoint("127.0.0.1", listener.local_addr().unwrap().port(), Tls::Implicit);
    at.timeout = Duration::from_millis(300);
    let failure = dial(&at, "IMAP").await.unwrap_err();
    assert_eq!(failure.kind, Kind::Timeout, "{failure}");
}

#[tokio::test]
async fn a_closed_port_is_offline_and_cleartext_stays_at_home() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let failure = dial(&endpoint("127.0.0.1", free, Tls::None), "SMTP").await.unwrap_err();
    assert_eq!((failure.kind, failure.remedy), (Kind::Offline, Remedy::Later));
    let failure = dial(&endpoint("mail.example.com", 25, Tls::None), "SMTP").await.unwrap_err();
    assert_eq!((failure.kind, failure.remedy), (Kind::Config, Remedy::Never));
}

#[test]
fn families_alternate() {
    let list: Vec<SocketAddr> =
        ["[::1]:1", "[::2]:1", "1.1.1.1:1"].iter().map(|a| a.parse().unwrap()).collect();
    let mixed: Vec<String> = interleave(list.into_iter()).iter().map(|a| a.to_string()).collect();
    assert_eq!(mixed, ["[::1]:1", "1.1.1.1:1", "[::2]:1"]);
}
