//! offlineimaprc (OfflineIMAP 7 and 8). Beside floor 5.

use super::draft::{AccountDraft, Draft, Keys, is_system};
use super::ini::{Section, sections};

pub(super) fn read(text: &str) -> Draft {
    let sections = sections(text);
    let find = |name: String| sections.iter().find(|s| s.name.eq_ignore_ascii_case(&name));
    let mut draft = Draft::default();
    let general = find("general".to_owned());
    let enabled: Option<Vec<&str>> = general
        .and_then(|g| g.get("accounts"))
        .map(|list| list.split(',').map(str::trim).collect());
    for section in &sections {
        let Some(name) = section.name.strip_prefix("Account ").map(str::trim) else { continue };
        let repository = |key| section.get(key).and_then(|name| find(format!("Repository {name}")));
        let (Some(local), Some(remote)) =
            (repository("localrepository"), repository("remoterepository"))
        else {
            draft.notes.push(format!("account {name}: a repository is missing"));
            continue;
        };
        let mut account = account(name, local, remote);
        if enabled.as_ref().is_some_and(|names| !names.contains(&name)) {
            account.keys.raw("enabled", "false".to_owned());
        }
        for section in [section, local, remote] {
            account.notes.extend(section.left(&["type", "restoreatime"]));
        }
        draft.accounts.push(account);
    }
    draft
}

fn account(name: &str, local: &Section, remote: &Section) -> AccountDraft {
    let mut account = AccountDraft::named(name);
    let is_gmail = remote.get("type").is_some_and(|kind| kind.eq_ignore_ascii_case("gmail"));
    let host = remote.get("remotehost").unwrap_or(if is_gmail { "imap.gmail.com" } else { "" });
    let user = remote.get("remoteuser").unwrap_or_default();
    account.guess_address(user, host);
    account.keys.maybe("maildir", local.get("localfolders").map(|path| path.trim_end_matches('/')));
    if local.get("sep").unwrap_or(".") != "/" {
        account.notes.push(
            "the Maildir separates levels by dots in plain names: rename a.b to a/b, or sync into a new one"
                .to_owned(),
        );
    }
    let file = remote.get("remotepassfile");
    match (remote.get("remotepass"), file, remote.get("remotepasseval")) {
        (Some(password), ..) => account.keys.text("password", password),
        (None, Some(file), _) => {
            let mut keys = Keys::default();
            keys.text("file", file);
            account.keys.raw("password", keys.inline());
        }
        (None, None, Some(code)) => {
            account.notes.push(format!("remotepasseval was Python, write it as a command: {code}"));
        }
        (None, None, None) => {}
    }
    for python in ["folderfilter", "nametrans"] {
        let code = [remote, local].into_iter().find_map(|side| side.get(python));
        if let Some(code) = code {
            let instead =
                if python == "nametrans" { "names stay as they are" } else { "use \"mailboxes\"" };
            account.notes.push(format!("{python} was Python, {instead}: {code}"));
        }
    }
    account.imap = Some(imap(remote, host, user));
    if remote.is_on("readonly") == Some(true) {
        account.sync.text("direction", "pull");
    }
    if remote.is_on("expunge") != Some(false) && !is_gmail {
        account.sync.text("delete", "expunge");
    }
    account
}

fn imap(remote: &Section, host: &str, user: &str) -> Keys {
    let mut imap = Keys::default();
    imap.text("host", host);
    imap.text("user", user);
    if let Some(port) = remote.get("remoteport") {
        imap.raw("port", port.to_owned());
    }
    if remote.is_on("ssl") == Some(false) {
        let starttls = remote.is_on("starttls") != Some(false);
        imap.text("tls", if starttls { "starttls" } else { "none" });
    }
    let ca_file = remote.get("sslcacertfile").filter(|file| !is_system(file));
    imap.maybe("ca_file", ca_file);
    if let Some(count) = remote.get("maxconnections") {
        imap.raw("max_connections", count.to_owned());
    }
    imap
}
