//! `postrider providers`: the presets that fill in what a configuration leaves out. Beside floor 5.

use serde_json::{Value, json};

use super::complaint::Complaint;
use super::print;
use crate::daemon::settings::{nearest, preset_for, presets};
use crate::model::account::Role;
use crate::model::automatic::Way;
use crate::model::provider::{Preset, PresetAuth, PresetServer, UserForm};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A preset's name, or an address
    name: Option<String>,
    /// Print the presets as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<u8, Complaint> {
    let chosen: Vec<&Preset> = match args.name.as_deref() {
        None => presets().values().collect(),
        Some(name) => vec![find(name)?],
    };
    if args.json {
        let list: Vec<Value> = chosen.into_iter().map(as_json).collect();
        print::out(&json!({"providers": list}).to_string())?;
    } else if let ([one], Some(_)) = (chosen.as_slice(), &args.name) {
        print::out(&as_text(one))?;
    } else {
        print::out(&table(&chosen))?;
    }
    Ok(0)
}

fn find(name: &str) -> Result<&'static Preset, Complaint> {
    let found = presets().get(name).or_else(|| preset_for(name));
    found.ok_or_else(|| {
        let meant = nearest(name, presets().keys().map(String::as_str));
        let meant = meant.map(|meant| format!("; did you mean \"{meant}\"?")).unwrap_or_default();
        Complaint::plain(67, &format!("there is no preset {name:?}{meant}"))
    })
}

fn table(presets: &[&Preset]) -> String {
    let heads = ["NAME", "PROVIDER", "IMAP", "POP3", "SMTP", "LOGIN"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(presets.iter().map(|preset| {
        let host = |server: &Option<PresetServer>| {
            server.as_ref().map_or_else(|| "-".to_owned(), |server| server.host.clone())
        };
        let login: Vec<&str> = preset.auth.iter().map(|auth| auth_name(*auth)).collect();
        let [imap, pop3, smtp] = [&preset.imap, &preset.pop3, &preset.smtp].map(host);
        vec![preset.name.clone(), preset.title.clone(), imap, pop3, smtp, login.join(", ")]
    }));
    print::columns(&rows)
}

fn as_text(preset: &Preset) -> String {
    let mut rows = vec![vec!["name".to_owned(), preset.name.clone()]];
    let mut row = |key: &str, value: String| {
        if !value.is_empty() {
            rows.push(vec![key.to_owned(), value]);
        }
    };
    row("provider", preset.title.clone());
    row("addresses", preset.domains.join(", "));
    for (key, server) in [("imap", &preset.imap), ("pop3", &preset.pop3), ("smtp", &preset.smtp)] {
        row(key, server.as_ref().map(server_text).unwrap_or_else(|| "not offered".to_owned()));
    }
    let login = |auth: &PresetAuth| match (auth, &preset.oauth) {
        (PresetAuth::OAuth, Some(issuer)) => format!("oauth (issuer {issuer})"),
        (PresetAuth::OAuth | PresetAuth::Password, _) => auth_name(*auth).to_owned(),
    };
    row("login", preset.auth.iter().map(login).collect::<Vec<_>>().join(", "));
    row(
        "sent mail",
        if preset.files_sent { "filed by the server".to_owned() } else { String::new() },
    );
    let roles: Vec<&str> = preset.leave_out.iter().copied().map(Role::as_str).collect();
    row("left out", roles.join(", "));
    row("connections", preset.max_connections.map(|n| format!("{n} at most")).unwrap_or_default());
    let daily =
        preset.daily.map(|daily| format!("{} MB down, {} MB up", daily.down_mb, daily.up_mb));
    row("a day", daily.unwrap_or_default());
    row("to know", preset.hint.clone().unwrap_or_default());
    row("page", preset.setup_url.clone().unwrap_or_default());
    print::columns(&rows)
}

fn server_text(server: &PresetServer) -> String {
    let form = |form| match form {
        UserForm::LocalPart => "what stands before the @",
        UserForm::Address => "the address",
    };
    let user = server.user.map(|user| format!(", user: {}", form(user))).unwrap_or_default();
    let or = server.or_user.map(|user| format!(", else {}", form(user))).unwrap_or_default();
    let other = server.other.map(|way| format!(", else {} ({})", way.port, way.tls.as_str()));
    let other = other.unwrap_or_default();
    let gap = match server.login_gap.as_secs() / 60 {
        0 => String::new(),
        minutes => format!(", logins {minutes} minutes apart"),
    };
    format!("{}:{} ({}{user}{or}){other}{gap}", server.host, server.port, server.tls.as_str())
}

fn auth_name(auth: PresetAuth) -> &'static str {
    match auth {
        PresetAuth::Password => "password",
        PresetAuth::OAuth => "oauth",
    }
}

fn as_json(preset: &Preset) -> Value {
    let server = |server: &Option<PresetServer>| {
        server.as_ref().map(|server| {
            let form = |form| match form {
                UserForm::Address => "address",
                UserForm::LocalPart => "local-part",
            };
            let way = |way: Way| json!({"port": way.port, "tls": way.tls.as_str()});
            json!({"host": server.host, "port": server.port, "tls": server.tls.as_str(),
                "user": server.user.map(form), "or_user": server.or_user.map(form),
                "other": server.other.map(way), "login_gap_s": server.login_gap.as_secs()})
        })
    };
    let auth: Vec<&str> = preset.auth.iter().map(|auth| auth_name(*auth)).collect();
    let roles: Vec<&str> = preset.leave_out.iter().copied().map(Role::as_str).collect();
    json!({
        "name": preset.name, "title": preset.title, "domains": preset.domains, "mx": preset.mx,
        "auth": auth, "oauth": preset.oauth, "files_sent": preset.files_sent, "leave_out": roles,
        "max_connections": preset.max_connections, "setup_url": preset.setup_url,
        "hint": preset.hint, "differs": preset.differs,
        "daily_mb": preset.daily.map(|daily| json!({"down": daily.down_mb, "up": daily.up_mb})), "imap": server(&preset.imap), "pop3": server(&preset.pop3),
        "smtp": server(&preset.smtp),
    })
}
