//! The presets of `config/providers.toml`, which is part of the program. Floor 5.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use serde::Deserialize;

use crate::model::account::{Role, Tls};
use crate::model::provider::{Preset, PresetAuth, PresetServer, UserForm};

/// All presets, by name.
pub fn presets() -> &'static BTreeMap<String, Preset> {
    static PRESETS: LazyLock<BTreeMap<String, Preset>> = LazyLock::new(|| {
        // A test reads the file: that it is sound is known before the program is built for anybody.
        parse(include_str!("../../../config/providers.toml")).unwrap_or_default()
    });
    &PRESETS
}

/// The preset whose domains have this address.
pub fn preset_for(address: &str) -> Option<&'static Preset> {
    let (_, domain) = address.rsplit_once('@')?;
    let domain = domain.to_ascii_lowercase();
    presets().values().find(|preset| preset.domains.contains(&domain))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    title: String,
    #[serde(default)]
    domains: Vec<String>,
    #[serde(default)]
    mx: Vec<String>,
    auth: Vec<RawAuth>,
    oauth: Option<String>,
    sent_copy: Option<RawSentCopy>,
    #[serde(default)]
    leave_out: Vec<RawRole>,
    max_connections: Option<u32>,
    setup_url: Option<String>,
    hint: Option<String>,
    imap: Option<RawServer>,
    pop3: Option<RawServer>,
    smtp: Option<RawServer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawAuth {
    Password,
    Oauth,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawSentCopy {
    Server,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawRole {
    All,
    Important,
    Flagged,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawServer {
    host: String,
    port: Option<u16>,
    tls: Option<RawTls>,
    user: Option<RawUser>,
    login_gap_minutes: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawTls {
    Implicit,
    Starttls,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawUser {
    Address,
    LocalPart,
}

fn parse(text: &str) -> Result<BTreeMap<String, Preset>, toml::de::Error> {
    let raw: BTreeMap<String, Raw> = toml::from_str(text)?;
    Ok(raw.into_iter().map(|(name, raw)| (name.clone(), preset(name, raw))).collect())
}

fn preset(name: String, raw: Raw) -> Preset {
    let auth = |auth| match auth {
        RawAuth::Password => PresetAuth::Password,
        RawAuth::Oauth => PresetAuth::OAuth,
    };
    let role = |role| match role {
        RawRole::All => Role::All,
        RawRole::Important => Role::Important,
        RawRole::Flagged => Role::Flagged,
    };
    Preset {
        name,
        title: raw.title,
        domains: raw.domains,
        mx: raw.mx,
        auth: raw.auth.into_iter().map(auth).collect(),
        oauth: raw.oauth,
        files_sent: matches!(raw.sent_copy, Some(RawSentCopy::Server)),
        leave_out: raw.leave_out.into_iter().map(role).collect(),
        max_connections: raw.max_connections,
        setup_url: raw.setup_url,
        hint: raw.hint,
        imap: raw.imap.map(|s| server(s, 993)),
        pop3: raw.pop3.map(|s| server(s, 995)),
        smtp: raw.smtp.map(|s| server(s, 465)),
    }
}

fn server(raw: RawServer, port: u16) -> PresetServer {
    PresetServer {
        host: raw.host,
        port: raw.port.unwrap_or(port),
        tls: match raw.tls {
            Some(RawTls::Starttls) => Tls::StartTls,
            Some(RawTls::Implicit) | None => Tls::Implicit,
        },
        user: raw.user.map(|user| match user {
            RawUser::Address => UserForm::Address,
            RawUser::LocalPart => UserForm::LocalPart,
        }),
        login_gap: Duration::from_secs(u64::from(raw.login_gap_minutes.unwrap_or(0)) * 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_preset_is_sound_and_no_domain_has_two() {
        let presets = parse(include_str!("../../../config/providers.toml")).unwrap();
        assert!(presets.len() >= 25, "{}", presets.len());
        let mut domains = BTreeSet::new();
        for preset in presets.values() {
            assert!(preset.imap.is_some() && preset.smtp.is_some(), "{}", preset.name);
            assert!(!preset.auth.is_empty(), "{}", preset.name);
            assert!(!preset.domains.is_empty() || !preset.mx.is_empty(), "{}", preset.name);
            let has_oauth = preset.auth.contains(&PresetAuth::OAuth);
            assert_eq!(has_oauth, preset.oauth.is_some(), "{}", preset.name);
            for domain in &preset.domains {
                assert_eq!(domain, &domain.to_lowercase());
                assert!(domains.insert(domain.clone()), "{domain} has two presets");
            }
            let servers = [&preset.imap, &preset.pop3, &preset.smtp];
            for server in servers.into_iter().flatten() {
                let is_known = match server.tls {
                    Tls::Implicit => matches!(server.port, 993 | 995 | 465),
                    Tls::StartTls => matches!(server.port, 587 | 1143 | 1025),
                    Tls::None => false,
                };
                assert!(is_known, "{}: {server:?}", preset.name);
            }
        }
    }

    #[test]
    fn an_address_finds_its_provider() {
        let name = |address| preset_for(address).map(|preset| preset.name.as_str());
        assert_eq!(name("me@GMail.com"), Some("gmail"));
        assert_eq!(name("me@mac.com"), Some("icloud"));
        assert_eq!(name("me@example.com"), None);
        assert_eq!(name("nobody"), None);
    }
}
