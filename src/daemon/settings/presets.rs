//! The presets of `config/providers.toml`, which is part of the program. Floor 5.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use serde::Deserialize;

use crate::model::account::{Role, Tls};
use crate::model::automatic::Way;
use crate::model::oauth::Issuer;
use crate::model::provider::{Daily, Preset, PresetAuth, PresetServer, UserForm};

/// All presets, by name.
pub fn presets() -> &'static BTreeMap<String, Preset> {
    &known().0
}

/// Who hands out OAuth tokens, by the name that `issuer` and presets call them.
pub(super) fn issuers() -> &'static BTreeMap<String, Issuer> {
    &known().1
}

fn known() -> &'static Known {
    static KNOWN: LazyLock<Known> = LazyLock::new(|| {
        // A test reads the file: that it is sound is known before the program is built for anybody.
        parse(include_str!("../../../config/providers.toml")).unwrap_or_default()
    });
    &KNOWN
}

type Known = (BTreeMap<String, Preset>, BTreeMap<String, Issuer>);

/// The preset whose domains have this address.
pub fn preset_for(address: &str) -> Option<&'static Preset> {
    let (_, domain) = address.rsplit_once('@')?;
    let domain = domain.to_ascii_lowercase();
    presets().values().find(|preset| preset.domains.contains(&domain))
}

#[derive(Deserialize)]
struct File {
    issuer: BTreeMap<String, RawIssuer>,
    #[serde(flatten)]
    presets: BTreeMap<String, Raw>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIssuer {
    title: String,
    auth_url: String,
    token_url: String,
    device_url: Option<String>,
    scopes: Vec<String>,
    redirect_host: Option<String>,
    #[serde(default)]
    extra: BTreeMap<String, String>,
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
    daily_mb: Option<RawDaily>,
    setup_url: Option<String>,
    hint: Option<String>,
    differs: Option<String>,
    imap: Option<RawServer>,
    pop3: Option<RawServer>,
    smtp: Option<RawServer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDaily {
    down: u32,
    up: u32,
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
    user: Option<RawUsers>,
    other: Option<RawWay>,
    login_gap_minutes: Option<u32>,
}

/// One form of the user's name, or the one to try first and the other.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawUsers {
    One(RawUser),
    Two([RawUser; 2]),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWay {
    port: u16,
    tls: RawTls,
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

fn parse(text: &str) -> Result<Known, toml::de::Error> {
    let raw: File = toml::from_str(text)?;
    let presets = raw.presets.into_iter().map(|(name, raw)| (name.clone(), preset(name, raw)));
    let issuers = raw.issuer.into_iter().map(|(name, raw)| (name, issuer(raw)));
    Ok((presets.collect(), issuers.collect()))
}

fn issuer(raw: RawIssuer) -> Issuer {
    Issuer {
        name: raw.title,
        auth_url: raw.auth_url,
        token_url: raw.token_url,
        device_url: raw.device_url,
        scopes: raw.scopes,
        redirect_host: raw.redirect_host.unwrap_or_else(|| LOOPBACK.to_owned()),
        extra: raw.extra.into_iter().collect(),
    }
}

/// Where a browser comes back to, where a provider takes any loopback address (RFC 8252 §7.3).
pub(super) const LOOPBACK: &str = "127.0.0.1";

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
        daily: raw.daily_mb.map(|daily| Daily { down_mb: daily.down, up_mb: daily.up }),
        hint: raw.hint,
        differs: raw.differs,
        imap: raw.imap.map(|s| server(s, 993)),
        pop3: raw.pop3.map(|s| server(s, 995)),
        smtp: raw.smtp.map(|s| server(s, 465)),
    }
}

fn server(raw: RawServer, port: u16) -> PresetServer {
    let tls = |raw: &RawTls| match raw {
        RawTls::Starttls => Tls::StartTls,
        RawTls::Implicit => Tls::Implicit,
    };
    let form = |user| match user {
        RawUser::Address => UserForm::Address,
        RawUser::LocalPart => UserForm::LocalPart,
    };
    let (user, or_user) = match raw.user {
        None => (None, None),
        Some(RawUsers::One(user)) => (Some(form(user)), None),
        Some(RawUsers::Two([first, other])) => (Some(form(first)), Some(form(other))),
    };
    PresetServer {
        host: raw.host,
        port: raw.port.unwrap_or(port),
        tls: raw.tls.as_ref().map_or(Tls::Implicit, tls),
        user,
        or_user,
        other: raw.other.map(|way| Way { port: way.port, tls: tls(&way.tls) }),
        login_gap: Duration::from_secs(u64::from(raw.login_gap_minutes.unwrap_or(0)) * 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::http::check_address;
    use std::collections::BTreeSet;

    #[test]
    fn every_preset_is_sound_and_no_domain_has_two() {
        let (presets, issuers) = parse(include_str!("../../../config/providers.toml")).unwrap();
        assert!(presets.len() >= 25, "{}", presets.len());
        let mut domains = BTreeSet::new();
        for preset in presets.values() {
            assert!(preset.imap.is_some() && preset.smtp.is_some(), "{}", preset.name);
            assert!(!preset.auth.is_empty(), "{}", preset.name);
            assert!(!preset.domains.is_empty() || !preset.mx.is_empty(), "{}", preset.name);
            let has_oauth = preset.auth.contains(&PresetAuth::OAuth);
            assert_eq!(has_oauth, preset.oauth.is_some(), "{}", preset.name);
            let issuer = preset.oauth.as_ref();
            assert!(issuer.is_none_or(|issuer| issuers.contains_key(issuer)), "{}", preset.name);
            for domain in &preset.domains {
                assert_eq!(domain, &domain.to_lowercase());
                assert!(domains.insert(domain.clone()), "{domain} has two presets");
            }
            let servers = [
                (&preset.imap, [(993, Tls::Implicit), (143, Tls::StartTls), (1143, Tls::StartTls)]),
                (&preset.pop3, [(995, Tls::Implicit), (110, Tls::StartTls), (110, Tls::StartTls)]),
                (&preset.smtp, [(465, Tls::Implicit), (587, Tls::StartTls), (1025, Tls::StartTls)]),
            ];
            for (server, usual) in servers {
                let Some(server) = server else { continue };
                for way in server.ways() {
                    assert!(usual.contains(&(way.port, way.tls)), "{}: {server:?}", preset.name);
                }
                assert!(server.or_user.is_none() || server.or_user != server.user);
            }
        }
    }

    #[test]
    fn every_issuer_has_encrypted_addresses_and_says_what_to_ask_for() {
        for (name, issuer) in issuers() {
            assert!(!issuer.scopes.is_empty(), "{name}");
            let urls =
                [Some(&issuer.auth_url), Some(&issuer.token_url), issuer.device_url.as_ref()];
            for url in urls.into_iter().flatten() {
                assert!(url.starts_with("https://") && check_address(url).is_ok(), "{name}: {url}");
            }
        }
        assert!(issuers()["microsoft"].scopes.iter().any(|scope| scope == "offline_access"));
        assert_eq!(issuers()["google"].device_url, None, "Google refuses mail scopes to devices");
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
