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
    let is_maildir =
        |to: &&Section| to.get("type").is_some_and(|kind| kind.eq_ignore_ascii_case("maildir"));
    let destination = find("destination").filter(is_maildir);
    account.came_to(destination.and_then(|to| to.get("path")));
    let takes_token = retriever.is_on("use_xoauth2") == Some(true);
    match (retriever.get("password_command"), retriever.get("password")) {
        (Some(command), _) => {
            let mut keys = Keys::default();
            let key = if takes_token { "token_command" } else { "command" };
            keys.list(key, &items(command));
            account.keys.raw(if takes_token { "oauth" } else { "password" }, keys.inline());
        }
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
        let mailboxes = items(retriever.get("mailboxes").unwrap_or("(\"INBOX\")"));
        account.sync.list("mailboxes", &mailboxes);
        account.sync.text("direction", "pull");
        account.notes.push(
            "getmail only fetched: direction = \"both\" syncs flags and moves, too".to_owned(),
        );
    }
    let size = options.and_then(|o| o.get("max_message_size")).filter(|size| *size != "0");
    account.sync.maybe("max_size", size);
    for section in [Some(retriever), options, find("destination")].into_iter().flatten() {
        account.notes.extend(section.left(&["read_all"]));
    }
    let others = sections.iter().filter(|section| {
        !["retriever", "destination", "options"]
            .iter()
            .any(|known| section.name.eq_ignore_ascii_case(known))
    });
    account.notes.extend(
        others.map(|other| format!("has no counterpart here: [{}], use a hook", other.name)),
    );
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

/// The strings of `("pass", "show", "x y")`; any other word is one by itself.
fn items(tuple: &str) -> Vec<String> {
    let inner = tuple.trim().trim_start_matches('(').trim_end_matches(')');
    let mut items = Vec::new();
    let mut rest = inner.trim_start_matches([',', ' ']);
    while let Some(first) = rest.chars().next() {
        let quote = Some(first).filter(|c| matches!(c, '"' | '\''));
        let (item, after) = match quote {
            Some(quote) => {
                let inner = rest.get(1..).unwrap_or_default();
                inner.split_once(quote).unwrap_or((inner, ""))
            }
            None => rest.split_once(',').unwrap_or((rest, "")),
        };
        items.push(item.trim().to_owned());
        rest = after.trim_start_matches([',', ' ']);
    }
    items
}
