//! What a failed TLS handshake means, in plain words. Floor 3.
//!
//! The library has only texts, so the texts decide. They name functions and files of its source; of that
//! a person gets the reason alone.

use std::error::Error;
use std::io;

use super::{failure, is_loopback_host};
use crate::model::account::{Endpoint, Tls};
use crate::model::failure::{Failure, Kind};

/// Says what a failed handshake means, and what mends it.
pub(super) fn classify(err: &native_tls::Error, endpoint: &Endpoint, protocol: &str) -> Failure {
    let mut text = err.to_string();
    let mut cause: Option<&(dyn Error + 'static)> = err.source();
    while let Some(inner) = cause {
        if let Some(cut) = inner.downcast_ref::<io::Error>() {
            return failure(endpoint, protocol, "TLS", Kind::Offline, "set up encryption")
                .detail(format_args!("the connection was cut in the handshake: {cut}"))
                .cure("check that the port speaks TLS, and the network");
        }
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    explain(&text, endpoint, protocol)
}

fn explain(text: &str, endpoint: &Endpoint, protocol: &str) -> Failure {
    let lower = text.to_lowercase();
    let reason = reason(text);
    let known = MEANINGS.iter().find(|(words, _)| words.iter().any(|word| lower.contains(word)));
    let Some((_, trouble)) = known else {
        return failure(endpoint, protocol, "TLS", Kind::TlsUntrusted, "set up encryption")
            .detail(format_args!("the TLS library refuses, and says: {reason}"))
            .cure("ask the server's operator");
    };
    let (kind, what) = match trouble {
        Trouble::NoTls => (Kind::NotEncrypted, "set up encryption"),
        Trouble::TooOld | Trouble::TooWeak | Trouble::NothingInCommon | Trouble::WantsOurs => {
            (Kind::TlsUntrusted, "set up encryption")
        }
        Trouble::NotYet
        | Trouble::Expired
        | Trouble::OtherName
        | Trouble::SelfSigned
        | Trouble::UnknownIssuer => (Kind::TlsUntrusted, "trust the server"),
    };
    let (detail, cure) = words(*trouble, endpoint);
    failure(endpoint, protocol, "TLS", kind, what)
        .detail(format_args!("{detail} (the TLS library said: {reason})"))
        .cure(cure)
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    NoTls,
    NotYet,
    Expired,
    OtherName,
    SelfSigned,
    UnknownIssuer,
    WantsOurs,
    TooOld,
    TooWeak,
    NothingInCommon,
}

/// What the libraries say; the first that fits counts.
const MEANINGS: &[(&[&str], Trouble)] = &[
    (
        &["wrong version number", "packet length too long", "record overflow", "http request"],
        Trouble::NoTls,
    ),
    (&["not yet valid"], Trouble::NotYet),
    (&["expired"], Trouble::Expired),
    (
        &["hostname mismatch", "ip address mismatch", "name mismatch", "host name"],
        Trouble::OtherName,
    ),
    // One in the chain is a root that nobody here knows.
    (&["in certificate chain"], Trouble::UnknownIssuer),
    (&["self-signed", "self signed"], Trouble::SelfSigned),
    (
        &["unable to get", "unable to verify", "not trusted", "certificate verify failed"],
        Trouble::UnknownIssuer,
    ),
    (&["certificate required", "peer did not return a certificate"], Trouble::WantsOurs),
    (&["unsupported protocol", "protocol version", "no protocols"], Trouble::TooOld),
    (&["too small", "too weak", "insufficient security"], Trouble::TooWeak),
    (&["handshake failure", "no shared cipher", "no cipher"], Trouble::NothingInCommon),
];

/// What it means, and what mends it.
fn words(trouble: Trouble, endpoint: &Endpoint) -> (String, String) {
    let (host, port) = (&endpoint.host, endpoint.port);
    let (detail, cure) = match trouble {
        Trouble::NoTls => {
            let what = format!("what answers at port {port} does not speak TLS");
            let cure = match endpoint.tls {
                Tls::Implicit => "set tls = \"starttls\", or the port that speaks TLS",
                Tls::StartTls | Tls::None => "set tls = \"implicit\" and its port",
            };
            return (what, cure.to_owned());
        }
        Trouble::NotYet => (
            "the server's certificate is not valid yet",
            "check the clock of this machine; else tell the server's operator",
        ),
        Trouble::Expired => (
            "the server's certificate has expired",
            "check the clock of this machine, then tell the server's operator",
        ),
        Trouble::OtherName => {
            let what = format!("the server's certificate is for another name than {host}");
            let cure = "check \"host\": the provider says under which name it is reached";
            return (what, cure.to_owned());
        }
        Trouble::SelfSigned => (
            "the server's certificate is self-signed: nobody else vouches for it",
            if is_loopback_host(host) {
                "set ca_file to a PEM file of the certificate, or pin_sha256 to the server's key"
            } else {
                "get the certificate from the server's operator, and set ca_file to its PEM file or \
                 pin_sha256 to its key"
            },
        ),
        Trouble::UnknownIssuer => (
            "the server's certificate is signed by an authority that is not trusted here",
            "set ca_file to the authority's PEM file, or pin_sha256 to the server's key",
        ),
        Trouble::WantsOurs => {
            ("the server wants a certificate from us", "set client_cert to its PEM file")
        }
        Trouble::TooOld => (
            "the server offers nothing newer than TLS 1.1, which is not safe",
            "tell the server's operator",
        ),
        Trouble::TooWeak => {
            ("the server's certificate or key is too weak to be safe", "tell the server's operator")
        }
        Trouble::NothingInCommon => (
            "the server and this program have no encryption in common",
            "tell the server's operator",
        ),
    };
    (detail.to_owned(), cure.to_owned())
}

/// The reason alone: what is in parentheses at the end, else the fourth part of
/// `error:CODE:library:function:reason:file:line:`.
fn reason(text: &str) -> &str {
    if let Some(inner) = text.strip_suffix(')').and_then(|text| text.rsplit_once('(')) {
        return inner.1;
    }
    let parts: Vec<&str> = text.split(':').map(str::trim).collect();
    let named = parts.iter().position(|part| *part == "error").and_then(|at| parts.get(at + 4));
    named.copied().filter(|reason| !reason.is_empty()).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_person_gets_the_reason_and_no_names_of_functions() {
        for (text, shown) in [
            (
                "error:0A000086:SSL routines:tls_post_process_server_certificate:certificate verify \
                 failed:../ssl/statem/statem_clnt.c:1889: (self-signed certificate)",
                "self-signed certificate",
            ),
            (
                "error:0A00010B:SSL routines:ssl3_get_record:wrong version \
                 number:../ssl/record/ssl3_record.c:354:",
                "wrong version number",
            ),
            ("The certificate was not trusted.", "The certificate was not trusted."),
            ("error:0A:x", "error:0A:x"),
        ] {
            assert_eq!(reason(text), shown);
        }
    }

    #[test]
    fn each_reason_has_its_meaning_and_what_is_not_known_is_said_as_it_is() {
        let endpoint = Endpoint::bare("h".to_owned(), 993, Tls::Implicit, Duration::from_secs(1));
        for (said, means, mends) in [
            ("tlsv13 alert certificate required", "wants a certificate from us", "client_cert"),
            ("unsupported protocol", "TLS 1.1", "operator"),
            ("ee key too small", "too weak", "operator"),
            ("sslv3 alert handshake failure", "no encryption in common", "operator"),
            ("self-signed certificate in certificate chain", "authority", "ca_file"),
            ("certificate is not yet valid", "not valid yet", "clock"),
        ] {
            let text = format!("error:0A000410:SSL routines:f:{said}:../ssl/f.c:1:");
            let shown = explain(&text, &endpoint, "IMAP").to_string();
            assert!(shown.contains(means) && shown.contains(mends), "{shown}");
            assert!(shown.contains(said) && !shown.contains("routines"), "{shown}");
        }
        let text = "error:0A000410:SSL routines:f:strange things:../ssl/f.c:1:";
        let shown = explain(text, &endpoint, "IMAP").to_string();
        assert!(shown.contains("says: strange things") && !shown.contains("routines"), "{shown}");
    }
}
