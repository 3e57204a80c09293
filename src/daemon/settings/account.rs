//! `[account.NAME]` and the tables in it. Floor 5.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::Surroundings;
use super::pop::{self, pop};
use super::raw::{Spot, Table, Value, nearest, quoted};
use super::server::{Login, Protocol, Server, server};
use super::{secret, values};
use crate::model::account::{
    Account, Brake, CreatePolicy, DeletePolicy, Direction, ImapSettings, Layout, Limits, Role,
    SmtpSettings, SyncPolicy,
};
use crate::model::ids::{AccountName, MailboxName};

/// The shared outgoing servers: `[smtp.NAME]`.
pub(super) type Shared<'a> = BTreeMap<&'a str, Server<'a>>;

/// Reads one account. Also answers where its Maildir is named, for complaints about it.
pub(super) fn account<'a>(
    name: &str,
    table: Table<'a>,
    shared: &Shared<'a>,
    around: &Surroundings,
) -> (Account, Spot<'a>) {
    let address = table.need("address").and_then(|v| v.parsed(values::address)).unwrap_or_default();
    let (maildir, maildir_spot) = maildir(name, &table, around);
    let (password, has_password) = secret::login(&table, around);
    let login = Login { user: address.clone(), password, has_password };
    let imap_table = table.take("imap").and_then(|v| v.table());
    let imap_server = imap_table.as_ref().map(|t| server(t, Protocol::Imap, around));
    let pop_table = table.take("pop3").and_then(|v| v.table());
    let pop_server = pop_table.as_ref().map(|t| server(t, Protocol::Pop, around));
    let own = imap_server.as_ref().or(pop_server.as_ref());
    let login = Login { user: sending_user(&login, own), ..login };
    let imap = imap_table.zip(imap_server).map(|(t, s)| imap(t, &s, &login, &table.spot));
    let pop3 = pop_table.zip(pop_server).map(|(t, s)| pop(t, &s, &login, imap.is_some(), &table));
    let smtp = table.take("smtp").and_then(|v| smtp(&v, shared, &login, &table.spot, around));
    refuse_what_is_not_built(&table);
    let sync_table = table.take("sync");
    if let Some(sync) = sync_table.as_ref().filter(|_| imap.is_none() && pop3.is_none()) {
        sync.name_spot.problem("has no meaning without an imap or a pop3 table");
    }
    if imap.is_none() && pop3.is_none() && smtp.is_none() {
        table.spot.problem("has neither an imap, a pop3 nor an smtp table that can be used");
    }
    let read_sync = if pop3.is_some() { pop::sync } else { sync };
    let account = Account {
        name: AccountName(name.to_owned()),
        address,
        enabled: table.take("enabled").and_then(|v| v.boolean()).unwrap_or(true),
        aliases: table.take("aliases").map(|v| aliases(&v)).unwrap_or_default(),
        maildir,
        layout: layout(&table),
        info_separator: info_separator(&table),
        roles: table.take("roles").and_then(|v| v.table()).map(roles).unwrap_or_default(),
        imap,
        pop3,
        sync: sync_table.and_then(|v| v.table()).map_or_else(default_sync, read_sync),
        smtp,
    };
    table.finish();
    (account, maildir_spot)
}

/// The login of the outgoing server is that of the incoming one, where they do not differ.
fn sending_user(login: &Login, incoming: Option<&Server<'_>>) -> String {
    let own = incoming.and_then(|server| server.user.as_deref()).filter(|user| !user.is_empty());
    // What Gmail takes before the name of a POP3 user says which messages to list.
    own.map_or_else(|| login.user.clone(), |own| own.trim_start_matches("recent:").to_owned())
}

fn maildir<'a>(name: &str, table: &Table<'a>, around: &Surroundings) -> (PathBuf, Spot<'a>) {
    let default = || around.home.join("Mail").join(name);
    match table.take("maildir") {
        None => (default(), table.spot.below("maildir")),
        Some(value) => {
            let path = value.parsed(|text| values::path(text, around));
            (path.unwrap_or_else(default), value.spot)
        }
    }
}

fn refuse_what_is_not_built(table: &Table<'_>) {
    if let Some(provider) = table.take("provider")
        && let Some(preset) = provider.text()
        && !["auto", "none"].contains(&preset)
    {
        let preset = quoted(preset);
        provider.spot.problem(format!("the preset {preset} is not supported yet: name the host"));
    }
}

fn imap(table: Table<'_>, server: &Server<'_>, login: &Login, account: &Spot<'_>) -> ImapSettings {
    let push = table.take("push").and_then(|v| v.texts());
    let push = push.map(|names| names.iter().filter_map(|(_, v)| v.parsed(mailbox)).collect());
    let prefix = table.take("path_prefix").and_then(|v| v.text().map(str::to_owned));
    let settings = ImapSettings {
        endpoint: server.endpoint(Protocol::Imap, login, account),
        path_prefix: prefix.filter(|prefix| !prefix.is_empty()),
        push: push.unwrap_or_else(|| vec![MailboxName::inbox()]),
        max_connections: table.take("max_connections").and_then(|v| v.integer(1, 20)).unwrap_or(3),
    };
    table.finish();
    settings
}

/// `smtp = "NAME"`, or the table itself.
fn smtp<'a>(
    value: &Value<'a>,
    shared: &Shared<'a>,
    login: &Login,
    account: &Spot<'_>,
    around: &Surroundings,
) -> Option<SmtpSettings> {
    let complete = |server: &Server<'_>| SmtpSettings {
        endpoint: server.endpoint(Protocol::Smtp, login, account),
        sent_copy: server.sent_copy,
    };
    if let Some(name) = value.as_text() {
        if let Some(server) = shared.get(name) {
            return Some(complete(server));
        }
        let what = format!("there is no [smtp.{}]", name.escape_debug());
        value.spot.suggest(what, nearest(name, shared.keys().copied()));
        return None;
    }
    let table = value.table_like("the name of an [smtp.NAME] table, or a table")?;
    let server = server(&table, Protocol::Smtp, around);
    table.finish();
    Some(complete(&server))
}

fn aliases(value: &Value<'_>) -> Vec<String> {
    let texts = value.texts().unwrap_or_default();
    texts.iter().filter_map(|(_, item)| item.parsed(values::alias)).collect()
}

fn layout(table: &Table<'_>) -> Layout {
    let choices = [("fs", Layout::Fs), ("maildir++", Layout::MaildirPlusPlus)];
    table.take("layout").and_then(|v| v.choice(&choices)).unwrap_or(Layout::Fs)
}

fn info_separator(table: &Table<'_>) -> char {
    let choices = [(":", ':'), (";", ';'), ("!", '!')];
    table.take("info_separator").and_then(|v| v.choice(&choices)).unwrap_or(':')
}

fn roles(table: Table<'_>) -> BTreeMap<Role, MailboxName> {
    let mut roles = BTreeMap::new();
    for (key, role) in [
        ("sent", Role::Sent),
        ("trash", Role::Trash),
        ("drafts", Role::Drafts),
        ("junk", Role::Junk),
        ("archive", Role::Archive),
        ("all", Role::All),
        ("flagged", Role::Flagged),
    ] {
        if let Some(name) = table.take(key).and_then(|v| v.parsed(mailbox)) {
            roles.insert(role, name);
        }
    }
    table.finish();
    roles
}

/// A mailbox name; INBOX in any case is INBOX (RFC 9051 §5.1).
pub(super) fn mailbox(text: &str) -> Result<MailboxName, String> {
    let name = values::one_line(text)?;
    if name.split('/').any(str::is_empty) {
        return Err(format!("{} is not the name of a mailbox", quoted(text)));
    }
    if name.eq_ignore_ascii_case("INBOX") {
        Ok(MailboxName::inbox())
    } else {
        Ok(MailboxName(name))
    }
}

fn sync(table: Table<'_>) -> SyncPolicy {
    let default = default_sync();
    let directions =
        [("both", Direction::Both), ("pull", Direction::Pull), ("push", Direction::Push)];
    let creates = [
        ("both", CreatePolicy::Both),
        ("local", CreatePolicy::Local),
        ("remote", CreatePolicy::Remote),
        ("none", CreatePolicy::None),
    ];
    let deletes = [
        ("trash", DeletePolicy::Trash),
        ("expunge", DeletePolicy::Expunge),
        ("keep", DeletePolicy::Keep),
    ];
    let direction = table.take("direction").and_then(|v| v.choice(&directions));
    let subscribed = table.take("subscribed_only").and_then(|v| v.boolean());
    let create = table.take("create").and_then(|v| v.choice(&creates));
    let delete = table.take("delete").and_then(|v| v.choice(&deletes));
    let remove = table.take("remove_mailboxes").and_then(|v| v.boolean());
    let quarantine = table.take("quarantine").and_then(|v| v.parsed(values::duration));
    let policy = SyncPolicy {
        direction: direction.unwrap_or(default.direction),
        mailboxes: table.take("mailboxes").and_then(|v| patterns(&v)).unwrap_or(default.mailboxes),
        subscribed_only: subscribed.unwrap_or(default.subscribed_only),
        create: create.unwrap_or(default.create),
        delete: delete.unwrap_or(default.delete),
        remove_mailboxes: remove.unwrap_or(default.remove_mailboxes),
        limits: limits(&table),
        brake: table.take("delete_brake").and_then(|v| v.table()).map_or(default.brake, brake),
        quarantine: quarantine.unwrap_or(default.quarantine),
    };
    table.finish();
    policy
}

pub(super) fn default_sync() -> SyncPolicy {
    SyncPolicy {
        direction: Direction::Both,
        mailboxes: vec!["*".to_owned()],
        subscribed_only: false,
        create: CreatePolicy::Both,
        delete: DeletePolicy::Trash,
        remove_mailboxes: false,
        limits: Limits::default(),
        brake: BRAKE,
        quarantine: QUARANTINE,
    }
}

fn patterns(value: &Value<'_>) -> Option<Vec<String>> {
    let texts = value.texts()?;
    if texts.iter().all(|(text, _)| text.starts_with('!')) {
        value.spot.problem("selects no mailbox: begin with \"*\" and exclude after it");
    }
    Some(texts.iter().filter_map(|(_, item)| item.parsed(values::pattern)).collect())
}

pub(super) fn brake(table: Table<'_>) -> Brake {
    let brake = Brake {
        min: table.take("min").and_then(|v| v.integer(0, u32::MAX)).unwrap_or(BRAKE.min),
        percent: table.take("percent").and_then(|v| v.integer(0, 100)).unwrap_or(BRAKE.percent),
    };
    table.finish();
    brake
}

fn limits(table: &Table<'_>) -> Limits {
    let limit = |key: &'static str| table.take(key).filter(|v| v.as_text() != Some("none"));
    Limits {
        max_size: limit("max_size").and_then(|v| v.parsed(values::size)),
        max_age: limit("max_age").and_then(|v| v.parsed(values::duration)),
        max_messages: limit("max_messages").and_then(|v| v.integer(1, u32::MAX)),
    }
}

const BRAKE: Brake = Brake { min: 25, percent: 20 };

const QUARANTINE: Duration = Duration::from_secs(7 * 86_400);
