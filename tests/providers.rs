//! The presets and the database of Thunderbird say the same of each provider, or the preset says why not.
//!
//! `ispdb/NAME.xml` is what the provider publishes, in the format of the database; it goes through the parser
//! that `setup` uses.

#![allow(clippy::unwrap_used, reason = "a test may stop at what it reads")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use postrider::adapters::autoconfig::autoconfig;
use postrider::daemon::settings::presets;
use postrider::model::account::Tls;
use postrider::model::provider::{Preset, PresetAuth, PresetServer, UserForm};

fn documents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ispdb")
}

#[test]
fn a_preset_and_the_database_agree_or_the_difference_is_explained() {
    let mut wrong = Vec::new();
    for preset in presets().values().filter(|preset| !preset.domains.is_empty()) {
        let file = documents().join(format!("{}.xml", preset.name));
        let Ok(document) = std::fs::read_to_string(&file) else {
            wrong.push(format!("{}: there is no {}", preset.name, file.display()));
            continue;
        };
        let found = differences(preset, &document);
        match (found.is_empty(), &preset.differs) {
            (true, None) => {}
            (false, Some(why)) if why.len() > 20 => {}
            (true, Some(_)) => wrong.push(format!("{}: explains what is the same", preset.name)),
            (false, _) => wrong.push(format!("{}: {}", preset.name, found.join("; "))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_document_is_of_a_preset_and_of_all_its_domains() {
    for entry in std::fs::read_dir(documents()).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let preset = presets().get(&name).unwrap_or_else(|| panic!("{name} is no preset"));
        let document = std::fs::read_to_string(&file).unwrap();
        for domain in &preset.domains {
            let element = format!("<domain>{domain}</domain>");
            assert!(document.contains(&element), "{name} lacks {element}");
        }
    }
}

#[test]
fn a_difference_is_seen_in_each_part_of_a_server() {
    let preset = &presets()["gmx"];
    let document = std::fs::read_to_string(documents().join("gmx.xml")).unwrap();
    assert_eq!(differences(preset, &document), Vec::<String>::new());
    for (from, to) in [
        ("imap.gmx.net", "imap.example.org"),
        (">993<", ">994<"),
        ("<port>465</port>\n      <socketType>SSL", "<port>465</port>\n      <socketType>plain"),
        ("EMAILADDRESS", "EMAILLOCALPART"),
        ("type=\"pop3\"", "type=\"pop4\""),
        ("password-cleartext", "OAuth2"),
    ] {
        assert!(document.contains(from), "{from}");
        assert!(!differences(preset, &document.replace(from, to)).is_empty(), "{from} -> {to}");
    }
}

#[test]
fn a_second_way_to_a_server_that_the_database_has_is_in_the_preset() {
    let mut n_second = 0;
    for preset in presets().values().filter(|preset| !preset.domains.is_empty()) {
        let file = documents().join(format!("{}.xml", preset.name));
        let document = std::fs::read_to_string(file).unwrap();
        let servers = [("imap", &preset.imap), ("pop3", &preset.pop3), ("smtp", &preset.smtp)];
        for (protocol, ours) in servers {
            let Some(ours) = ours else { continue };
            let first = (ours.port, ours.tls);
            let listed = ways(&document, protocol, &ours.host);
            for second in listed.iter().filter(|way| **way != first) {
                let known = ours.other.map(|way| (way.port, way.tls));
                assert_eq!(known, Some(*second), "{} {protocol}", preset.name);
                n_second += 1;
            }
        }
    }
    assert!(n_second > 20, "{n_second}");
}

/// The encrypted ways to a host that a document lists for a protocol.
fn ways(document: &str, protocol: &str, host: &str) -> Vec<(u16, Tls)> {
    let between = |text: &str, tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>")).unwrap();
        rest.split_once('<').unwrap().0.to_owned()
    };
    let tls = |socket: &str| match socket {
        "SSL" => Some(Tls::Implicit),
        "STARTTLS" => Some(Tls::StartTls),
        _ => None,
    };
    document
        .split(&format!("Server type=\"{protocol}\">"))
        .skip(1)
        .map(|server| server.split("Server>").next().unwrap())
        .filter(|server| between(server, "hostname") == host)
        .filter_map(|server| {
            Some((between(server, "port").parse().unwrap(), tls(&between(server, "socketType"))?))
        })
        .collect()
}

/// What `setup` would find in the document, and what the preset says else.
fn differences(preset: &Preset, document: &str) -> Vec<String> {
    let Some(found) = autoconfig(document) else { return vec!["it is no document".to_owned()] };
    let servers = [
        ("imap", found.imap, &preset.imap),
        ("pop3", found.pop3, &preset.pop3),
        ("smtp", found.smtp, &preset.smtp),
    ];
    let mut all = Vec::new();
    for (protocol, found, ours) in servers {
        let (found, ours) = (found.as_ref().map(shown), ours.as_ref().map(shown));
        if found != ours {
            all.push(format!("{protocol} is {found:?} in the database, {ours:?} in the preset"));
        }
    }
    let ours: BTreeSet<&str> = preset.auth.iter().map(|auth| login(*auth)).collect();
    let parts = document.split("<authentication>").skip(1);
    let theirs: BTreeSet<&str> = parts.map(|rest| rest.split('<').next().unwrap()).collect();
    if ours != theirs {
        all.push(format!("logins are {theirs:?} in the database, {ours:?} in the preset"));
    }
    all
}

/// What both can say. The address is what is taken where nothing is said of the user.
fn shown(server: &PresetServer) -> String {
    let user = server.user.unwrap_or(UserForm::Address);
    format!("{}:{} {} {user:?}", server.host, server.port, server.tls.as_str())
}

fn login(auth: PresetAuth) -> &'static str {
    match auth {
        PresetAuth::Password => "password-cleartext",
        PresetAuth::OAuth => "OAuth2",
    }
}
