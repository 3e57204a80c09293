//! mbsyncrc (isync 1.4 and 1.5; also the older words Master, Slave, SSLType). Beside floor 5.

use std::collections::BTreeMap;

use super::draft::{AccountDraft, Asked, Draft, Keys, is_system};

/// Settings of mbsync that are always so here, or that only it needs.
const ALWAYS: [&str; 5] = ["copyarrivaldate", "fsync", "pipelinedepth", "syncstate", "inbox"];

/// A section: its kind and name are its first line.
#[derive(Debug, Default)]
struct Section {
    kind: String,
    name: String,
    keys: BTreeMap<String, String>,
    asked: Asked,
}

impl Section {
    fn get(&self, key: &str) -> Option<&str> {
        self.asked.note(key);
        self.keys.get(key).map(String::as_str)
    }

    /// What nobody asked for, but for what is always so here.
    fn left(&self) -> Vec<String> {
        ALWAYS.iter().for_each(|key| self.asked.note(key));
        self.asked.left(self.keys.iter())
    }
}

pub(super) fn read(text: &str) -> Draft {
    let mut sections = sections(text);
    // What stands outside of the sections goes for all channels that do not say otherwise.
    let global: BTreeMap<String, String> =
        sections.iter().filter(|s| s.kind.is_empty()).flat_map(|s| s.keys.clone()).collect();
    for channel in sections.iter_mut().filter(|s| s.kind == "channel") {
        for (key, value) in &global {
            channel.keys.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    let find = |kind: &str, name: &str| sections.iter().find(|s| s.kind == kind && s.name == name);
    let mut draft = Draft::default();
    let mut taken: Vec<&str> = Vec::new();
    for channel in sections.iter().filter(|s| s.kind == "channel") {
        let far = channel.get("far").or_else(|| channel.get("master")).unwrap_or_default();
        let near = channel.get("near").or_else(|| channel.get("slave")).unwrap_or_default();
        let store =
            find("imapstore", store_name(far)).or_else(|| find("imapstore", store_name(near)));
        let maildir = find("maildirstore", store_name(near));
        let maildir = maildir.or_else(|| find("maildirstore", store_name(far)));
        let (Some(store), Some(maildir)) = (store, maildir) else {
            draft.notes.push(format!("channel {}: not between IMAP and a Maildir", channel.name));
            continue;
        };
        let server =
            store.get("account").and_then(|name| find("imapaccount", name)).unwrap_or(store);
        if taken.contains(&server.name.as_str()) {
            draft.notes.push(format!(
                "channel {}: a second one of {}; add its patterns to \"mailboxes\"",
                channel.name, server.name
            ));
            continue;
        }
        taken.push(&server.name);
        let mut account = account(channel, server, store, maildir);
        for section in [channel, server, store, maildir] {
            let mut left = section.left();
            left.retain(|note| !account.notes.contains(note));
            account.notes.extend(left);
        }
        draft.accounts.push(account);
    }
    draft
}

/// `:store:box` names a store.
fn store_name(place: &str) -> &str {
    place.trim_matches('"').strip_prefix(':').and_then(|p| p.split(':').next()).unwrap_or(place)
}

fn account(
    channel: &Section,
    server: &Section,
    store: &Section,
    maildir: &Section,
) -> AccountDraft {
    // Where the server has no name of its own, its store is called after the channel and "remote".
    let name = if server.kind == "imapstore" { &channel.name } else { &server.name };
    let mut account = AccountDraft::named(name);
    let (user, host) =
        (server.get("user").unwrap_or_default(), server.get("host").unwrap_or_default());
    account.guess_address(user, host);
    let path = maildir.get("path").unwrap_or_default().trim_end_matches('/');
    account.keys.maybe("maildir", Some(path));
    match maildir.get("subfolders").unwrap_or("verbatim").to_ascii_lowercase().as_str() {
        "maildir++" => account.keys.text("layout", "maildir++"),
        "legacy" => account.notes.push(
            "SubFolders Legacy has no counterpart: rename the directories as with Verbatim"
                .to_owned(),
        ),
        _ => {
            let inbox = maildir.get("inbox").unwrap_or("~/Maildir").trim_end_matches('/');
            if inbox != format!("{path}/INBOX") {
                account.notes.push(format!("INBOX was {inbox}: move it to {path}/INBOX first"));
            }
        }
    }
    if maildir.get("infodelimiter").is_some_and(|c| matches!(c, ";" | "!")) {
        account.keys.maybe("info_separator", maildir.get("infodelimiter"));
    }
    if let Some(separator) = maildir.get("flatten") {
        account.notes.push(format!(
            "Flatten {separator} has no counterpart: rename directories like a{separator}b to a/b"
        ));
    }
    let mechanisms = server.get("authmechs").or_else(|| server.get("authmech"));
    let takes_token = mechanisms.is_some_and(takes_token);
    match (server.get("passcmd"), server.get("pass")) {
        (Some(command), _) if takes_token => {
            account.keys.token_command(command.trim_start_matches('+'));
        }
        (Some(command), _) => account.keys.password_command(command.trim_start_matches('+')),
        (None, Some(password)) => account.keys.text("password", password),
        (None, None) => {}
    }
    account.imap = Some(imap(server, store));
    sync(&mut account, channel);
    let sizes = [store, maildir].into_iter().filter_map(|side| side.get("maxsize"));
    if let Some(size) = sizes.filter_map(size).next() {
        account.sync.text("max_size", &size);
    }
    account
}

/// Whether what is logged in with is a token: of the other mechanisms the best is found.
fn takes_token(mechanisms: &str) -> bool {
    let mechanisms = mechanisms.to_ascii_uppercase();
    mechanisms.split_whitespace().any(|one| one == "XOAUTH2" || one == "OAUTHBEARER")
}

/// `1m`, `50k` and bytes, as a size of ours.
fn size(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let (number, unit) = match text.strip_suffix('b').unwrap_or(&text) {
        text if text.ends_with('k') => (text.trim_end_matches('k'), "KiB"),
        text if text.ends_with('m') => (text.trim_end_matches('m'), "MiB"),
        text => (text, ""),
    };
    number.trim().parse().ok().filter(|n: &u64| *n > 0).map(|n| format!("{n}{unit}"))
}

fn imap(server: &Section, store: &Section) -> Keys {
    let mut imap = Keys::default();
    imap.maybe("host", server.get("host"));
    imap.maybe("user", server.get("user"));
    if let Some(port) = server.get("port") {
        imap.raw("port", port.to_owned());
    }
    let tls = server.get("tlstype").or_else(|| server.get("ssltype")).unwrap_or_default();
    match tls.to_ascii_lowercase().as_str() {
        "starttls" => imap.text("tls", "starttls"),
        "none" => imap.text("tls", "none"),
        _ => {}
    }
    imap.maybe("ca_file", server.get("certificatefile").filter(|file| !is_system(file)));
    imap.maybe("path_prefix", store.get("path"));
    if let Some(timeout) = server.get("timeout").filter(|t| t.parse().is_ok_and(|t: u32| t > 0)) {
        imap.text("timeout", &format!("{timeout}s"));
    }
    imap
}

fn sync(account: &mut AccountDraft, channel: &Section) {
    if let Some(patterns) = channel.get("patterns").or_else(|| channel.get("pattern")) {
        let words = words(patterns).into_iter().map(|word| word.replace('%', "*"));
        account.sync.list("mailboxes", &words.collect::<Vec<_>>());
    }
    let far = channel.get("far").or_else(|| channel.get("master")).unwrap_or_default();
    if let Some((_, mailbox)) = far.trim_start_matches(':').split_once(':')
        && !mailbox.is_empty()
        && channel.get("patterns").is_none()
    {
        account.sync.list("mailboxes", &[mailbox.trim_matches('"').to_owned()]);
    }
    let sync = channel.get("sync").unwrap_or("all").to_ascii_lowercase();
    match sync.as_str() {
        "pull" => account.sync.text("direction", "pull"),
        "push" => account.sync.text("direction", "push"),
        "all" | "full" | "pull push" | "push pull" => {}
        other => account.notes.push(format!("Sync {other}: everything is synced")),
    }
    match channel.get("create").unwrap_or("none").to_ascii_lowercase().as_str() {
        "both" => {}
        "near" | "slave" => account.sync.text("create", "local"),
        "far" | "master" => account.sync.text("create", "remote"),
        _ => account.sync.text("create", "none"),
    }
    match channel.get("expunge").unwrap_or("none").to_ascii_lowercase().as_str() {
        "both" | "far" | "master" => account.sync.text("delete", "expunge"),
        _ => account.notes.push(
            "there was no Expunge: a file that is deleted here now goes to Trash on the server"
                .to_owned(),
        ),
    }
    if channel.get("remove").is_some_and(|value| !value.eq_ignore_ascii_case("none")) {
        account.sync.raw("remove_mailboxes", "true".to_owned());
    }
    if let Some(count) = channel.get("maxmessages").filter(|n| n.parse().is_ok_and(|n: u32| n > 0))
    {
        account.sync.raw("max_messages", count.to_owned());
    }
}

/// Words, some of them in quotes.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (n, part) in text.split('"').enumerate() {
        if n % 2 == 1 {
            words.push(part.to_owned());
        } else {
            // `!"a b"` excludes a quoted name.
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    let mut joined: Vec<String> = Vec::new();
    for word in words {
        match joined.last_mut() {
            Some(last) if last == "!" => last.push_str(&word),
            _ => joined.push(word),
        }
    }
    joined
}

/// A blank line ends a section; a section begins with its kind and name.
fn sections(text: &str) -> Vec<Section> {
    const KINDS: [&str; 5] = ["imapaccount", "imapstore", "maildirstore", "channel", "group"];
    let mut sections: Vec<Section> = vec![Section::default()];
    for line in text.lines().map(str::trim) {
        if line.starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once(char::is_whitespace) else {
            if line.is_empty() {
                sections.push(Section::default());
            }
            continue;
        };
        let (key, value) = (key.to_ascii_lowercase(), value.trim());
        if KINDS.contains(&key.as_str()) {
            let name = value.trim_matches('"').to_owned();
            sections.push(Section { kind: key, name, ..Section::default() });
        } else if let Some(section) = sections.last_mut() {
            let value = match value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) {
                Some(inner) if !inner.contains('"') || key == "passcmd" => {
                    inner.replace("\\\"", "\"")
                }
                _ => value.to_owned(),
            };
            let old = section.keys.entry(key).or_default();
            if !old.is_empty() {
                old.push(' ');
            }
            old.push_str(&value);
        }
    }
    sections
}
