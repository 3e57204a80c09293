//! Settings as providers publish them: Thunderbird's autoconfig (draft-ietf-mailmaint-autoconfig), and PACC
//! (draft-ietf-mailmaint-pacc). Floor 3. Nothing is fetched here: only bytes are understood.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use roxmltree::{Document, Node, ParsingOptions};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::model::account::Tls;
use crate::model::provider::{PresetServer, UserForm};

/// The servers that a document names, the best of each kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Published {
    /// Incoming by IMAP.
    pub imap: Option<PresetServer>,
    /// Incoming by POP3.
    pub pop3: Option<PresetServer>,
    /// Outgoing.
    pub smtp: Option<PresetServer>,
}

impl Published {
    /// Whether it names nothing of use.
    pub fn is_empty(&self) -> bool {
        self.imap.is_none() && self.pop3.is_none() && self.smtp.is_none()
    }
}

/// Reads an autoconfig document. Servers without encryption are passed over; among the others one with
/// TLS from the first byte comes first, then the order of the document counts.
pub fn autoconfig(text: &str) -> Option<Published> {
    // Entities could make it grow without bound.
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..Default::default() };
    let document = Document::parse_with_options(text, options).ok()?;
    let provider = document.descendants().find(|node| node.has_tag_name("emailProvider"))?;
    let best = |tag: &str, kind: &str| {
        let sections = provider.children().filter(|node| node.has_tag_name(tag));
        let ours = sections.filter(|node| node.attribute("type") == Some(kind));
        let mut found: Vec<PresetServer> = ours.filter_map(server).collect();
        found.sort_by_key(|server| server.tls != Tls::Implicit);
        found.into_iter().next()
    };
    Some(Published {
        imap: best("incomingServer", "imap"),
        pop3: best("incomingServer", "pop3"),
        smtp: best("outgoingServer", "smtp"),
    })
}

fn server(section: Node<'_, '_>) -> Option<PresetServer> {
    let text = |tag: &str| {
        let node = section.children().find(|node| node.has_tag_name(tag))?;
        node.text().map(str::trim).filter(|text| !text.is_empty())
    };
    let tls = match text("socketType")?.to_ascii_uppercase().as_str() {
        "SSL" | "TLS" => Tls::Implicit,
        "STARTTLS" => Tls::StartTls,
        _ => return None,
    };
    let user = match text("username") {
        Some("%EMAILADDRESS%") => Some(UserForm::Address),
        Some("%EMAILLOCALPART%") => Some(UserForm::LocalPart),
        Some(_) | None => None,
    };
    let host = host(text("hostname")?)?;
    Some(PresetServer::new(host, text("port")?.parse().ok()?, tls, user))
}

/// A host name as a document may name it: it gets into a configuration and is shown to a person.
fn host(text: &str) -> Option<String> {
    let is_sound = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    let is_host = text.len() <= 253 && text.chars().all(is_sound) && !text.starts_with(['.', '-']);
    is_host.then(|| text.to_lowercase())
}

#[derive(Deserialize)]
struct Pacc {
    protocols: PaccProtocols,
}

#[derive(Deserialize)]
struct PaccProtocols {
    imap: Option<PaccServer>,
    pop3: Option<PaccServer>,
    /// Its name since the draft's version 03.
    submit: Option<PaccServer>,
    /// Its name before.
    smtp: Option<PaccServer>,
}

#[derive(Deserialize)]
struct PaccServer {
    host: String,
}

/// Reads a PACC document. It counts only if one of the domain's TXT records has its digest: then whoever
/// has the domain wrote it. All its servers have TLS from the first byte, on the ports of RFC 8314.
pub fn pacc(bytes: &[u8], records: &[String]) -> Option<Published> {
    let digest = STANDARD.encode(Sha256::digest(bytes));
    if !records.iter().any(|record| vouches(record, &digest)) {
        return None;
    }
    let Pacc { protocols } = serde_json::from_slice(bytes).ok()?;
    let server = |named: Option<PaccServer>, port| {
        let host = host(&named?.host)?;
        Some(PresetServer::new(host, port, Tls::Implicit, Some(UserForm::Address)))
    };
    Some(Published {
        imap: server(protocols.imap, 993),
        pop3: server(protocols.pop3, 995),
        smtp: server(protocols.submit.or(protocols.smtp), 465),
    })
}

/// Whether a record `v=UAAC1; a=sha256; d=…` has this digest.
fn vouches(record: &str, digest: &str) -> bool {
    let tag = |name: &str| {
        let tags = record.split(';').filter_map(|tag| tag.trim().split_once('='));
        tags.into_iter().find(|(tag, _)| *tag == name).map(|(_, value)| value.trim())
    };
    tag("v") == Some("UAAC1") && tag("a") == Some("sha256") && tag("d") == Some(digest)
}

const NODES_MAX: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"<?xml version="1.0"?>
        <clientConfig version="1.1"><emailProvider id="example.net">
          <incomingServer type="pop3"><hostname>pop.example.net</hostname><port>995</port>
            <socketType>SSL</socketType><username>%EMAILLOCALPART%</username></incomingServer>
          <incomingServer type="imap"><hostname>plain.example.net</hostname><port>143</port>
            <socketType>plain</socketType></incomingServer>
          <incomingServer type="imap"><hostname>start.example.net</hostname><port>143</port>
            <socketType>STARTTLS</socketType></incomingServer>
          <incomingServer type="imap"><hostname>IMAP.example.net</hostname><port>993</port>
            <socketType>SSL</socketType><username>%EMAILADDRESS%</username></incomingServer>
          <outgoingServer type="smtp"><hostname>smtp.example.net; x</hostname><port>465</port>
            <socketType>SSL</socketType></outgoingServer>
          <outgoingServer type="smtp"><hostname>smtp.example.net</hostname><port> 587 </port>
            <socketType>STARTTLS</socketType></outgoingServer>
        </emailProvider></clientConfig>"#;

    #[test]
    fn the_best_encrypted_server_of_each_kind_is_taken_and_no_other() {
        let found = autoconfig(SAMPLE).unwrap();
        let server =
            |host: &str, port, tls, user| Some(PresetServer::new(host.to_owned(), port, tls, user));
        let (address, local) = (Some(UserForm::Address), Some(UserForm::LocalPart));
        assert_eq!(found.imap, server("imap.example.net", 993, Tls::Implicit, address));
        assert_eq!(found.pop3, server("pop.example.net", 995, Tls::Implicit, local));
        assert_eq!(found.smtp, server("smtp.example.net", 587, Tls::StartTls, None));
    }

    #[test]
    fn what_is_no_sound_document_names_nothing() {
        for text in ["", "<html>not found</html>", "<clientConfig>", "\0"] {
            assert_eq!(autoconfig(text), None, "{text}");
        }
        let bomb = r#"<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><clientConfig>
            <emailProvider>&b;</emailProvider></clientConfig>"#;
        assert_eq!(autoconfig(bomb), None);
        let many = format!("<a>{}</a>", "<b/>".repeat(20_000));
        assert_eq!(autoconfig(&many), None);
        assert!(autoconfig("<clientConfig><emailProvider/></clientConfig>").unwrap().is_empty());
    }

    #[test]
    fn a_pacc_document_counts_only_with_its_digest() {
        let text =
            br#"{"protocols": {"imap": {"host": "imap.a.b"}, "submit": {"host": "out.a.b"}}}"#;
        let digest = STANDARD.encode(Sha256::digest(text));
        let record = format!("v=UAAC1; a=sha256; d={digest}");
        let found = pacc(text, &["v=spf1".to_owned(), record.clone()]).unwrap();
        assert_eq!(found.imap.unwrap().host, "imap.a.b");
        assert_eq!((found.smtp.unwrap().port, found.pop3), (465, None));
        assert_eq!(pacc(&text[1..], &[record]), None);
        assert_eq!(pacc(text, &["v=UAAC1; a=sha256; d=x".to_owned()]), None);
    }
}
