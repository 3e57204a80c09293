//! getmailrc (getmail 6): one account a file. Beside floor 5.

use super::draft::{AccountDraft, Draft, Keys};
use super::ini::{Section, sections};

pub(super) fn read(text: &str) -> Draft {
    let sections = sections(text);
    let find = |name: &str| sections.iter().find(|s| s.name.eq_ignore_ascii_case(name));
    let Some(retriever) = find("retriever") else { return Draft::default() };
    let (host, user) = (
        retriever.get("server").unwrap_or_default(),
        retriever.get("username").unwrap_or_default(),
    );
    let mut account = AccountDraft::named(host);
    account.guess_address(user, host);
    let kind = retriever.get("type").unwrap_or_default();
    let server = server(retriever, host, user, kind.contains("SSL"));
    match find("destination") {
        Some(to) if to.get("type").is_some_and(|kind| kind.eq_ignore_ascii_case("maildir")) => {
            let path = to.get("path").unwrap_or_default().trim_end_matches('/');
            account.notes.push(format!(
                "mail went to {path}; postrider keeps it in a mailbox below maildir: move it to INBOX there"
            ));
        }
        _ => account.notes.push("the destination was no Maildir: use a hook".to_owned()),
    }
    match (retriever.get("password_command"), retriever.get("password")) {
        (Some(command), _) => account.keys.password_command(&argv(command)),
        (None, Some(password)) => account.keys.text("password", password),
        (None, None) => {}
    }
    let options = find("options");
    if kind.contains("POP3") {
        let mut pop3 = server;
        let after = options.and_then(|o| o.get("delete_after")).filter(|days| *days != "0");
        let deletes = options.and_then(|o| o.is_on("delete")) == Some(true);
        match after {
            _ if deletes => pop3.text("leave", "remove"),
            Some(days) => pop3.text("leave", &format!("{days}d")),
            None => {}
        }
        account.pop3 = Some(pop3);
    } else {
        account.imap = Some(server);
        account.sync.text("direction", "pull");
        account.notes.push(
            "getmail only fetched: direction = \"both\" syncs flags and moves, too".to_owned(),
        );
    }
    let size = options.and_then(|o| o.get("max_message_size")).filter(|size| *size != "0");
    account.sync.maybe("max_size", size);
    for section in [Some(retriever), options].into_iter().flatten() {
        account.notes.extend(section.left(&[]));
    }
    Draft { accounts: vec![account], notes: Vec::new() }
}

fn server(retriever: &Section, host: &str, user: &str, has_tls: bool) -> Keys {
    let mut keys = Keys::default();
    keys.text("host", host);
    keys.text("user", user);
    if let Some(port) = retriever.get("port") {
        keys.raw("port", port.to_owned());
    }
    if !has_tls {
        keys.text("tls", "starttls");
    }
    keys.maybe("ca_file", retriever.get("ca_certs"));
    keys
}

/// `("pass", "show", "x")` as a command line.
fn argv(tuple: &str) -> String {
    let inner = tuple.trim().trim_start_matches('(').trim_end_matches(')');
    let words = inner.split(',').map(|word| word.trim().trim_matches(['"', '\'']));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
