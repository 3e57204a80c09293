//! `[account.NAME]` and the tables in it. Floor 5.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::Surroundings;
use super::oauth::Holder;
use super::pop::{self, pop};
use super::presets::{preset_for, presets};
use super::raw::{Spot, Table, Value, nearest, quoted};
use super::server::{Login, Protocol, Server, server};
use super::{secret, values};
use crate::model::account::{
    Account, Brake, CreatePolicy, DeletePolicy, Direction, ImapSettings, Layout, Limits, Role,
    SentCopy, SmtpSettings, SyncPolicy,
};
use crate::model::ids::{AccountName, MailboxName};
use crate::model::provider::{Preset, PresetServer};

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
    let preset = preset(&table, &address);
    let issuer = preset.and_then(|preset| preset.oauth.as_deref());
    let holder = Holder { kind: "account", address: &address, issuer };
    let (password, has_password) = secret::login(&table, around, holder);
    let advice = preset.and_then(Preset::advice);
    let login = Login {
        account: name,
        address: address.clone(),
        user: None,
        advice,
        password,
        has_password,
    };
    let known = |of: fn(&Preset) -> &Option<PresetServer>| preset.and_then(|p| of(p).as_ref());
    // With a preset, an address and a password are enough.
    let is_bare = ["imap", "pop3", "smtp"].iter().all(|key| table.named().all(|(k, _)| k != *key));
    let bare = |key| (is_bare && preset.is_some()).then(|| Table::empty(table.spot.below(key)));
    let imap_table = table.take("imap").and_then(|v| v.table()).or_else(|| bare("imap"));
    let imap_preset = known(|p| &p.imap);
    let imap_server = imap_table.as_ref().map(|t| server(t, Protocol::Imap, imap_preset, around));
    let pop_table = table.take("pop3").and_then(|v| v.table());
    let pop_preset = known(|p| &p.pop3);
    let pop_server = pop_table.as_ref().map(|t| server(t, Protocol::Pop, pop_preset, around));
    let own = imap_server.as_ref().or(pop_server.as_ref());
    let login = Login { user: sending_user(own), ..login };
    let imap = imap_table.zip(imap_server).map(|(t, s)| imap(t, &s, &login, &table.spot));
    let pop3 = pop_table.zip(pop_server).map(|(t, s)| pop(t, &s, &login, imap.is_some(), &table));
    let has_imap = imap.is_some();
    let outgoing = Outgoing { shared, login: &login, preset, has_imap, around };
    let smtp = match table.take("smtp") {
        Some(value) => outgoing.smtp(&value, &table.spot),
        None => bare("smtp").map(|own| outgoing.own_server(own, &table.spot)),
    };
    let sync_table = table.take("sync");
    if let Some(sync) = sync_table.as_ref().filter(|_| imap.is_none() && pop3.is_none()) {
        sync.name_spot.problem("has no meaning without an imap or a pop3 table");
    }
    if imap.is_none() && pop3.is_none() && smtp.is_none() {
        table.spot.problem("has neither an imap, a pop3 nor an smtp table that can be used");
    }
    let read_sync: fn(Table<'_>) -> SyncPolicy = if pop3.is_some() { pop::sync } else { sync };
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
        sync: leave_out(preset, sync_table.and_then(|v| v.table()), read_sync),
        smtp,
    };
    table.finish();
    (account, maildir_spot)
}

/// The login of the outgoing server is that of the incoming one, where they do not differ.
fn sending_user(incoming: Option<&Server<'_>>) -> Option<String> {
    let own = incoming.and_then(|server| server.user.as_deref()).filter(|user| !user.is_empty());
    // What Gmail takes before the name of a POP3 user says which messages to list.
    own.map(|own| own.trim_start_matches("recent:").to_owned())
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

/// The preset that fills in what is left out: the one that is named, else that of the address.
fn preset(table: &Table<'_>, address: &str) -> Option<&'static Preset> {
    let Some(value) = table.take("provider") else { return preset_for(address) };
    match value.text()? {
        "auto" => preset_for(address),
        "none" => None,
        name => {
            let preset = presets().get(name);
            if preset.is_none() {
                let names = presets().keys().map(String::as_str).chain(["auto", "none"]);
                let what =
                    format!("there is no preset {}: postrider providers lists them", quoted(name));
                value.spot.suggest(what, nearest(name, names));
            }
            preset
        }
    }
}

/// The settings of the sync. Mailboxes that only hold copies are left out, unless patterns choose.
fn leave_out(
    preset: Option<&Preset>,
    table: Option<Table<'_>>,
    read: fn(Table<'_>) -> SyncPolicy,
) -> SyncPolicy {
    let chooses = table.as_ref().is_some_and(|t| t.named().any(|(key, _)| key == "mailboxes"));
    let policy = table.map_or_else(default_sync, read);
    let leave_out = preset.filter(|_| !chooses).map(|p| p.leave_out.clone());
    SyncPolicy { leave_out: leave_out.unwrap_or_default(), ..policy }
}

fn imap(
    table: Table<'_>,
    server: &Server<'_>,
    login: &Login<'_>,
    account: &Spot<'_>,
) -> ImapSettings {
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

/// What an account's outgoing server is made from.
struct Outgoing<'a, 'b> {
    shared: &'b Shared<'a>,
    login: &'b Login<'b>,
    preset: Option<&'static Preset>,
    /// Without it the server's own copy never comes here.
    has_imap: bool,
    around: &'b Surroundings,
}

impl<'a> Outgoing<'a, '_> {
    /// `smtp = "NAME"`, or the table itself.
    fn smtp(&self, value: &Value<'a>, account: &Spot<'_>) -> Option<SmtpSettings> {
        let Some(name) = value.as_text() else {
            let table = value.table_like("the name of an [smtp.NAME] table, or a table")?;
            return Some(self.own_server(table, account));
        };
        if let Some(server) = self.shared.get(name) {
            return Some(self.complete(server, account));
        }
        let what = format!("there is no [smtp.{}]", name.escape_debug());
        value.spot.suggest(what, nearest(name, self.shared.keys().copied()));
        None
    }

    fn own_server(&self, table: Table<'a>, account: &Spot<'_>) -> SmtpSettings {
        let preset = self.preset.and_then(|preset| preset.smtp.as_ref());
        let server = server(&table, Protocol::Smtp, preset, self.around);
        table.finish();
        self.complete(&server, account)
    }

    fn complete(&self, server: &Server<'_>, account: &Spot<'_>) -> SmtpSettings {
        let files_sent = self.has_imap && self.preset.is_some_and(|preset| preset.files_sent);
        let is_filed = server.sent_copy == SentCopy::Auto && server.is_preset && files_sent;
        let sent_copy = if is_filed { SentCopy::Server } else { server.sent_copy };
        SmtpSettings { endpoint: server.endpoint(Protocol::Smtp, self.login, account), sent_copy }
    }
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
        leave_out: Vec::new(),
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
        leave_out: Vec::new(),
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
        is_metered: false,
    }
}

const BRAKE: Brake = Brake { min: 25, percent: 20 };

const QUARANTINE: Duration = Duration::from_secs(7 * 86_400);
