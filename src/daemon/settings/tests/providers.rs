//! Each preset makes an account that the engine can work with: its servers' shape against the engine's rules.

use super::*;
use crate::model::account::{Account, Endpoint};
use crate::model::automatic::Memory;
use crate::model::provider::{Preset, PresetAuth, PresetServer};
use crate::rules::automatic;

/// An account of the preset with this login, and all servers that it has.
fn account(preset: &Preset, login: &str, incoming: &str) -> Account {
    let text = format!(
        "[account.a]\naddress = 'me@example.org'\nprovider = '{}'\n{login}\n\
         [account.a.{incoming}]\n[account.a.smtp]\n",
        preset.name
    );
    good(&text).accounts.into_values().next().unwrap()
}

/// The endpoint is the preset's, and whatever is tried at it is encrypted.
fn is_shaped(endpoint: &Endpoint, server: &PresetServer, name: &str) {
    assert_eq!(
        (&endpoint.host, endpoint.port, endpoint.tls),
        (&server.host, server.port, server.tls)
    );
    let open = endpoint.open.as_ref().unwrap_or_else(|| panic!("{name}: nothing is left open"));
    let nothing = Memory::default();
    let ways = automatic::ways(open, &nothing);
    assert_eq!(ways, server.ways().collect::<Vec<_>>(), "{name}");
    assert!(ways.iter().all(|way| way.tls != Tls::None), "{name}");
    // What worked last comes first, and the first one is not lost by it.
    for way in &ways {
        let worked = automatic::reached(nothing.clone(), &endpoint.host, *way);
        let again = automatic::ways(open, &automatic::about(worked, open, &endpoint.host));
        assert_eq!((again.first(), again.len()), (Some(way), ways.len()), "{name}");
    }
    let users: Vec<String> = [server.user, server.or_user]
        .into_iter()
        .flatten()
        .map(|form| form.of("me@example.org"))
        .collect();
    let tried = automatic::users(open, &nothing);
    assert_eq!(tried.first(), Some(&endpoint.user.as_str()), "{name}");
    assert!(users.iter().all(|user| tried.contains(&user.as_str())), "{name}: {tried:?}");
    assert!(tried.len() <= 2, "{name}: more than two logins lock people out");
}

#[test]
fn each_preset_is_an_account_whose_servers_the_engine_can_reach_and_log_in_to() {
    for preset in crate::daemon::settings::presets().values() {
        let name = &preset.name;
        for auth in &preset.auth {
            let (login, takes_token) = match auth {
                PresetAuth::Password => ("password = { command = ['x'] }", false),
                PresetAuth::OAuth => ("oauth = { client_id = 'x' }", true),
            };
            let one = account(preset, login, "imap");
            let (imap, smtp) = (one.imap.unwrap(), one.smtp.unwrap());
            is_shaped(&imap.endpoint, preset.imap.as_ref().unwrap(), name);
            is_shaped(&smtp.endpoint, preset.smtp.as_ref().unwrap(), name);
            for endpoint in [&imap.endpoint, &smtp.endpoint] {
                let all_fit = endpoint.auth.iter().all(|one| one.takes_token() == takes_token);
                assert!(all_fit, "{name}: {:?}", endpoint.auth);
                assert_eq!(endpoint.password.as_ref().unwrap().is_token(), takes_token, "{name}");
                assert_eq!(endpoint.advice.is_some(), preset.hint.is_some(), "{name}");
            }
            assert!(imap.max_connections >= 1, "{name}");
            assert!(preset.max_connections.is_none_or(|n| imap.max_connections <= n), "{name}");
            let files = smtp.sent_copy == SentCopy::Server;
            assert_eq!(files, preset.files_sent, "{name}");
            assert_eq!(one.sync.leave_out, preset.leave_out, "{name}");
            if let Some(pop) = &preset.pop3 {
                let one = account(preset, login, "pop3").pop3.unwrap();
                is_shaped(&one.endpoint, pop, name);
                assert_eq!(one.login_gap, pop.login_gap, "{name}");
            }
        }
    }
}
