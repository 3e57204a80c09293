//! Mailboxes: which are synced, which directory they have, which role they play. Floor 1.

use std::collections::BTreeMap;

use crate::model::account::{Layout, Role, SyncPolicy};
use crate::model::ids::MailboxName;
use crate::model::view::RemoteMailbox;

/// Whether glob patterns choose a mailbox: `*` and `?`, `!` excludes, the last match wins.
pub fn is_chosen(patterns: &[String], name: &MailboxName) -> bool {
    let mut chosen = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(inner) if glob(inner, name.as_str()) => chosen = false,
            None if glob(pattern, name.as_str()) => chosen = true,
            _ => {}
        }
    }
    chosen
}

/// Whether a mailbox of the server is synced: INBOX by its name alone, others also by subscription and role.
pub fn takes_part(
    sync: &SyncPolicy,
    mailbox: &MailboxName,
    remote: Option<&RemoteMailbox>,
) -> bool {
    let is_left_out = |remote: &RemoteMailbox| {
        !remote.is_subscribed || remote.role.is_some_and(|role| sync.leave_out.contains(&role))
    };
    is_chosen(&sync.mailboxes, mailbox) && (mailbox.is_inbox() || !remote.is_some_and(is_left_out))
}

/// Whether a glob matches the whole text. Linear in practice: only the last `*` is ever retried.
fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0_usize, 0_usize);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, t));
                p = p.saturating_add(1);
            }
            Some(c) if *c == '?' || Some(c) == text.get(t) => {
                p = p.saturating_add(1);
                t = t.saturating_add(1);
            }
            _ => {
                let Some((star, from)) = retry else { return false };
                retry = Some((star, from.saturating_add(1)));
                p = star.saturating_add(1);
                t = from.saturating_add(1);
            }
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

/// The directory of a mailbox below the Maildir's root, as path components; empty is the root.
///
/// Reversible by [`name_of`]; no component is `.`, `..`, empty, hidden (in `fs`), or one of the
/// Maildir's own `cur`, `new`, `tmp`, and none holds a control character.
pub fn directory(name: &MailboxName, layout: Layout) -> Vec<String> {
    match layout {
        Layout::Fs => name.levels().map(encode_component).collect(),
        Layout::MaildirPlusPlus if name.is_inbox() => Vec::new(),
        Layout::MaildirPlusPlus => {
            let levels: Vec<String> = name.levels().map(encode_dotted).collect();
            vec![format!(".{}", levels.join("."))]
        }
    }
}

/// The mailbox of a directory; `None` if no mailbox has it.
pub fn name_of(components: &[&str], layout: Layout) -> Option<MailboxName> {
    let (name, back) = decode(components, layout)?;
    back.iter().map(String::as_str).eq(components.iter().copied()).then_some(name)
}

/// [`name_of`] where a directory may be written in any of its [`spellings`].
pub fn name_of_spelled(components: &[&str], layout: Layout) -> Option<MailboxName> {
    let (name, back) = decode(components, layout)?;
    let is_spelling = |(plain, written): (&String, &&str)| {
        spellings(plain).iter().any(|spelling| spelling == written)
    };
    let is_same = back.len() == components.len() && back.iter().zip(components).all(is_spelling);
    is_same.then_some(name)
}

/// The ways to write a directory: as it is, with its first letter as `%XX`, and with all of them.
/// Where case does not count, the last one differs from that of every other name.
pub fn spellings(component: &str) -> [String; 3] {
    [component.to_owned(), escape_letters(component, 1), escape_letters(component, usize::MAX)]
}

fn escape_letters(component: &str, count: usize) -> String {
    let mut out = String::new();
    let (mut left, mut escape_until) = (count, 0);
    for (at, c) in component.char_indices() {
        let rest = component.get(at..).unwrap_or_default();
        if decode_hex(rest).is_some() {
            // `%25` with two hex digits behind it is one thing: the name's own way to write a `%`.
            let is_pair = rest.starts_with("%25") && rest.get(3..).is_some_and(is_name_escape);
            escape_until = at.saturating_add(if is_pair { 5 } else { 3 });
        }
        let has_case = c.to_lowercase().ne(c.to_uppercase());
        if has_case && at >= escape_until && left > 0 {
            left = left.saturating_sub(1);
            let mut buffer = [0_u8; 4];
            for byte in c.encode_utf8(&mut buffer).bytes() {
                out.push_str(&format!("%{byte:02X}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

fn decode(components: &[&str], layout: Layout) -> Option<(MailboxName, Vec<String>)> {
    let name = match (layout, components) {
        (Layout::Fs, []) => return None,
        (Layout::Fs, levels) => {
            levels.iter().map(|c| decode_component(c)).collect::<Option<Vec<_>>>()?.join("/")
        }
        (Layout::MaildirPlusPlus, []) => "INBOX".to_owned(),
        (Layout::MaildirPlusPlus, [one]) => {
            let levels = one.strip_prefix('.')?.split('.');
            levels.map(decode_component).collect::<Option<Vec<_>>>()?.join("/")
        }
        (Layout::MaildirPlusPlus, _) => return None,
    };
    let name = MailboxName(name);
    let back = directory(&name, layout);
    Some((name, back))
}

fn encode_component(level: &str) -> String {
    let encoded = percent(level, |c| c.is_control());
    if encoded.starts_with('.') || matches!(encoded.as_str(), "cur" | "new" | "tmp") {
        let mut chars = encoded.chars();
        let first = chars.next().unwrap_or('.');
        return format!("%{:02X}{}", u32::from(first), chars.as_str());
    }
    encoded
}

fn encode_dotted(level: &str) -> String {
    percent(level, |c| c.is_control() || c == '.')
}

/// Writes characters as `%XX` (all of them are ASCII controls or dots, or two-byte C1 controls
/// that are written byte by byte), and a `%` before two hex digits as `%25`, unless it is the
/// escaped slash of a name.
fn percent(level: &str, is_bad: impl Fn(char) -> bool) -> String {
    let mut out = String::new();
    for (at, c) in level.char_indices() {
        let rest = level.get(at..).unwrap_or_default();
        if is_bad(c) {
            let mut buffer = [0_u8; 4];
            for byte in c.encode_utf8(&mut buffer).bytes() {
                out.push_str(&format!("%{byte:02X}"));
            }
        } else if c == '%'
            && decode_hex(rest).is_some()
            && !rest.starts_with("%2F")
            && !rest.starts_with("%25")
        {
            out.push_str("%25");
        } else {
            out.push(c);
        }
    }
    out
}

fn decode_hex(text: &str) -> Option<u8> {
    let pair = text.strip_prefix('%')?.get(..2)?;
    if pair.bytes().all(|b| b.is_ascii_hexdigit()) {
        u8::from_str_radix(pair, 16).ok()
    } else {
        None
    }
}

fn decode_component(component: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = component;
    while let Some(c) = rest.chars().next() {
        match decode_hex(rest) {
            // Escapes that belong to the name itself stay.
            Some(b'/') => {
                bytes.extend_from_slice(b"%2F");
                rest = rest.get(3..)?;
            }
            Some(b'%') if rest.get(3..).is_some_and(is_name_escape) => {
                bytes.extend_from_slice(b"%25");
                rest = rest.get(3..)?;
            }
            Some(byte) => {
                bytes.push(byte);
                rest = rest.get(3..)?;
            }
            None => {
                let len = c.len_utf8();
                bytes.extend_from_slice(rest.get(..len)?.as_bytes());
                rest = rest.get(len..)?;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// Whether `%25` before this was written by the name, not by the directory: the name escapes `%`
/// before any two hex digits.
fn is_name_escape(rest: &str) -> bool {
    rest.get(..2).is_some_and(|p| p.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The role of each mailbox: what the configuration says, else SPECIAL-USE (RFC 6154), else
/// well-known names. Each role is given once.
pub fn roles(
    fixed: &BTreeMap<Role, MailboxName>,
    remote: &[RemoteMailbox],
) -> BTreeMap<Role, MailboxName> {
    let mut roles = fixed.clone();
    roles.insert(Role::Inbox, MailboxName::inbox());
    for mailbox in remote {
        if let Some(role) = mailbox.role {
            roles.entry(role).or_insert_with(|| mailbox.name.clone());
        }
    }
    for (role, names) in WELL_KNOWN {
        if roles.contains_key(role) {
            continue;
        }
        let found = names.iter().find_map(|wanted| {
            remote.iter().find(|m| m.selectable && m.name.as_str().eq_ignore_ascii_case(wanted))
        });
        if let Some(mailbox) = found {
            roles.insert(*role, mailbox.name.clone());
        }
    }
    roles
}

const WELL_KNOWN: &[(Role, &[&str])] = &[
    (Role::Sent, &["Sent", "Sent Items", "Sent Messages", "Sent Mail", "Gesendet"]),
    (Role::Trash, &["Trash", "Deleted Items", "Deleted Messages", "Bin", "Papierkorb"]),
    (Role::Drafts, &["Drafts", "Entwürfe"]),
    (Role::Junk, &["Junk", "Spam", "Junk E-mail"]),
    (Role::Archive, &["Archive", "Archives"]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_pattern_that_matches_decides() {
        let patterns = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let chosen =
            |list: &[&str], name: &str| is_chosen(&patterns(list), &MailboxName(name.into()));
        assert!(chosen(&["*"], "Archive/2024"));
        assert!(!chosen(&["*", "!Junk"], "Junk"));
        assert!(chosen(&["*", "!Archive/*", "Archive/2024"], "Archive/2024"));
        assert!(!chosen(&["*", "!Archive/*"], "Archive/2023"));
        assert!(!chosen(&["INBOX"], "Archive"));
        assert!(!chosen(&[], "INBOX"));
        assert!(chosen(&["L?sts*"], "Lists/rust"));
        assert!(!chosen(&["a*b*c"], "aXbX"));
    }

    #[test]
    fn hostile_names_stay_below_the_root() {
        for name in ["..", "../etc", "a/../b", ".hidden", "cur", "a/new", "x\u{1}y", "~", "."] {
            let name = MailboxName(name.to_owned());
            for layout in [Layout::Fs, Layout::MaildirPlusPlus] {
                let path = directory(&name, layout);
                for component in &path {
                    assert!(!matches!(component.as_str(), "" | "." | ".." | "cur" | "new" | "tmp"));
                    assert!(!component.contains(['/', '\0', '\u{1}']), "{component}");
                }
                let parts: Vec<&str> = path.iter().map(String::as_str).collect();
                assert_eq!(name_of(&parts, layout), Some(name.clone()), "{path:?}");
            }
        }
    }

    #[test]
    fn layouts_are_what_other_programs_use() {
        let name = MailboxName("Archive/2024".to_owned());
        assert_eq!(directory(&name, Layout::Fs), ["Archive", "2024"]);
        assert_eq!(directory(&name, Layout::MaildirPlusPlus), [".Archive.2024"]);
        assert!(directory(&MailboxName::inbox(), Layout::MaildirPlusPlus).is_empty());
        assert_eq!(directory(&MailboxName::inbox(), Layout::Fs), ["INBOX"]);
        assert_eq!(directory(&MailboxName("v1.2".into()), Layout::MaildirPlusPlus), [".v1%2E2"]);
    }

    #[test]
    fn configured_roles_beat_special_use_and_names_come_last() {
        let mailbox = |name: &str, role| RemoteMailbox {
            name: MailboxName(name.to_owned()),
            role,
            is_subscribed: true,
            selectable: true,
            status: None,
        };
        let remote =
            [mailbox("Bin", Some(Role::Trash)), mailbox("sent items", None), mailbox("X", None)];
        let fixed = BTreeMap::from([(Role::Drafts, MailboxName("X".into()))]);
        let roles = roles(&fixed, &remote);
        assert_eq!(roles.get(&Role::Trash).map(MailboxName::as_str), Some("Bin"));
        assert_eq!(roles.get(&Role::Sent).map(MailboxName::as_str), Some("sent items"));
        assert_eq!(roles.get(&Role::Drafts).map(MailboxName::as_str), Some("X"));
    }

    proptest! {
        #[test]
        fn every_directory_leads_back(levels in prop::collection::vec("[^/]{1,10}", 1..4)) {
            let escaped: Vec<String> =
                levels.iter().map(String::as_str).map(crate::rules::names::encode_utf7).collect();
            let raw = escaped.join("\u{7f}");
            if let Some(name) = crate::rules::names::from_server(&raw, Some('\u{7f}'), None) {
                for layout in [Layout::Fs, Layout::MaildirPlusPlus] {
                    let path = directory(&name, layout);
                    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
                    prop_assert_eq!(name_of(&parts, layout), Some(name.clone()));
                    for n in 0..3 {
                        let spelled: Vec<String> =
                            path.iter().map(|part| spellings(part)[n].clone()).collect();
                        let parts: Vec<&str> = spelled.iter().map(String::as_str).collect();
                        prop_assert_eq!(name_of_spelled(&parts, layout), Some(name.clone()));
                    }
                }
            }
        }

        #[test]
        fn fully_spelled_names_differ_even_where_case_does_not_count(
            one in "[a-cA-CäÄ ]{1,4}", other in "[a-cA-CäÄ ]{1,4}",
        ) {
            let [a, b] = [&one, &other].map(|name| {
                let path = directory(&MailboxName(name.clone()), Layout::Fs);
                spellings(&path[0])[2].to_lowercase()
            });
            prop_assert_eq!(a == b, one == other, "{} {}", a, b);
        }
    }
}
