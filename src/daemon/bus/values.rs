//! Paths, dictionaries and arguments as they cross the bus. Floor 5.

use std::collections::HashMap;

use zbus::Variant;

use super::error::Error;
use crate::daemon::document;
pub(super) use crate::daemon::paths::account_object as account_path;
use crate::engine::jobs::{JobResult, Manner};
use crate::model::ids::{AccountName, MailboxName, Uid};
use crate::model::outbox::{Dsn, Item};
use crate::model::status::{MailboxStatus, Progress};

/// The result of a job as `a{sv}`.
pub(super) type JobValues = HashMap<&'static str, Variant<'static>>;

/// The manager's path; all other objects are below it.
pub(super) const MANAGER: &str = "/org/postrider/Postrider1";

/// What a caller may add to a request.
pub(super) type Options<'a> = HashMap<String, Variant<'a>>;

/// The path of the outbox.
pub(super) const OUTBOX: &str = "/org/postrider/Postrider1/outbox";

pub(super) fn job_values(result: &JobResult) -> JobValues {
    HashMap::from([
        ("ok", Variant::from(result.is_ok())),
        ("elapsed_ms", Variant::from(document::elapsed_ms(result))),
        ("json", Variant::from(document::sync(result).to_string())),
    ])
}

pub(super) fn mailbox_values(
    name: &MailboxName,
    mailbox: &MailboxStatus,
) -> HashMap<&'static str, Variant<'static>> {
    HashMap::from([
        ("name", Variant::from(name.as_str().to_owned())),
        ("path", Variant::from(mailbox.path.clone())),
        ("role", Variant::from(mailbox.role.clone())),
        ("total", Variant::from(mailbox.total)),
        ("unread", Variant::from(mailbox.unread)),
        ("last_sync", Variant::from(mailbox.last_sync)),
        ("push", Variant::from(mailbox.push.as_str())),
        ("held", Variant::from(mailbox.held)),
        ("skipped", Variant::from(mailbox.skipped)),
        ("failed", Variant::from(mailbox.failed)),
    ])
}

pub(super) fn progress_values(
    progress: Option<&Progress>,
) -> HashMap<&'static str, Variant<'static>> {
    progress.map_or_else(HashMap::new, |progress| {
        HashMap::from([
            ("mailbox", Variant::from(progress.mailbox.clone())),
            ("done", Variant::from(progress.done)),
            ("total", Variant::from(progress.total)),
            ("bytes_done", Variant::from(progress.bytes_done)),
            ("bytes_total", Variant::from(progress.bytes_total)),
        ])
    })
}

/// A message of the outbox. No subject: what a mail is about never crosses the bus.
pub(super) fn item_values(item: &Item) -> HashMap<&'static str, Variant<'static>> {
    let recipient = |one: &crate::model::outbox::Recipient| {
        HashMap::from([
            ("address", Variant::from(one.address.as_str().to_owned())),
            ("state", Variant::from(one.state.as_str())),
            ("reply", Variant::from(one.reply.clone().unwrap_or_default())),
        ])
    };
    let recipients: Vec<_> = item.recipients.iter().map(recipient).collect();
    let text = |text: Option<&str>| Variant::from(text.unwrap_or_default().to_owned());
    let reason = item.reason.as_ref();
    HashMap::from([
        ("id", Variant::from(item.id.0.clone())),
        ("account", text(item.account.as_ref().map(AccountName::as_str))),
        ("sender", text(item.sender.as_ref().map(crate::model::outbox::Address::as_str))),
        ("message_id", Variant::from(item.message_id.clone())),
        ("size", Variant::from(item.size)),
        ("queued_at", Variant::from(item.queued_at)),
        ("phase", Variant::from(item.phase.as_str())),
        ("tries", Variant::from(item.tries)),
        ("next_attempt", Variant::from(item.next_attempt())),
        ("reason_name", text(reason.map(|reason| reason.name.as_str()))),
        ("reason_text", text(reason.map(|reason| reason.text.as_str()))),
        ("recipients", Variant::from(recipients)),
    ])
}

/// Control header fields, as (name, value).
pub(super) type Wishes = Vec<(&'static str, String)>;

/// The options of `Submit`: whether the recipients of the header count as well, and what stands for
/// control header fields.
pub(super) fn submit_options(options: Options<'_>) -> Result<(bool, Wishes), Error> {
    let (mut from_header, mut wishes) = (false, Wishes::new());
    let mut left = HashMap::new();
    for (key, value) in options {
        let known = match (key.as_str(), &value) {
            ("recipients_of_header", Variant::Bool(yes)) => {
                from_header = *yes;
                true
            }
            ("hold", Variant::Bool(yes)) => {
                wishes.push(("X-Postrider-Hold", if *yes { "yes" } else { "no" }.to_owned()));
                true
            }
            ("account", Variant::Str(name)) => {
                wishes.push(("X-Postrider-Account", name.to_string()));
                true
            }
            ("dsn", Variant::Str(words)) => {
                if !Dsn::is_whole(words) {
                    let text =
                        format!("dsn cannot be {:?}", words.chars().take(64).collect::<String>());
                    return Err(Error::NotSupported(text));
                }
                wishes.push(("X-Postrider-DSN", words.to_string()));
                true
            }
            ("send_after", Variant::U64(at)) => {
                wishes.push(("X-Postrider-Send-After", (at / 1_000_000).to_string()));
                true
            }
            _ => false,
        };
        if !known {
            let kind = OPTION_TYPES.iter().find(|(name, _)| *name == key);
            if let Some((name, kind)) = kind {
                return Err(Error::NotSupported(format!("option {name} is of type {kind}")));
            }
            left.insert(key, value);
        }
    }
    no_options(left)?;
    Ok((from_header, wishes))
}

const OPTION_TYPES: [(&str, &str); 5] = [
    ("recipients_of_header", "b"),
    ("hold", "b"),
    ("account", "s"),
    ("dsn", "s"),
    ("send_after", "t"),
];

/// The UIDs of the option `fetch` (`au`), and no other option.
pub(super) fn wanted_uids(mut options: Options<'_>) -> Result<Option<Vec<Uid>>, Error> {
    let wanted = options.remove("fetch");
    no_options(options)?;
    let Some(wanted) = wanted else { return Ok(None) };
    let uids = Vec::<u32>::try_from(wanted)
        .map_err(|_| Error::NotSupported("fetch is an array of UIDs (au)".to_owned()))?;
    if uids.len() > NAMES_MAX {
        return Err(Error::NotSupported(format!("at most {NAMES_MAX} messages at once")));
    }
    Ok(Some(uids.into_iter().filter_map(Uid::new).collect()))
}

/// The options `dry_run` and `unmetered` (`b`), and no other option.
pub(super) fn manner(mut options: Options<'_>) -> Result<Manner, Error> {
    let mut said = |name: &str| match options.remove(name) {
        None => Ok(false),
        Some(value) => bool::try_from(value)
            .map_err(|_| Error::NotSupported(format!("{name} is true or false (b)"))),
    };
    let manner = Manner { is_dry: said("dry_run")?, is_unmetered: said("unmetered")? };
    no_options(options)?;
    Ok(manner)
}

/// Refuses every option: one that is not understood must not be taken for done.
pub(super) fn no_options(options: Options<'_>) -> Result<(), Error> {
    match options.into_keys().min() {
        None => Ok(()),
        Some(key) => {
            let key: String = key.chars().take(64).collect();
            Err(Error::NotSupported(format!("there is no option {key:?}")))
        }
    }
}

/// The names, unless there are more or longer ones than anything here is called by.
pub(super) fn some_names(names: Vec<String>) -> Result<Vec<String>, Error> {
    if names.len() > NAMES_MAX || names.iter().any(|name| name.len() > NAME_BYTES_MAX) {
        let limits = format!(
            "too many or too long names: at most {NAMES_MAX} of {NAME_BYTES_MAX} bytes each; ask in parts"
        );
        return Err(Error::NotSupported(limits));
    }
    Ok(names)
}

const NAMES_MAX: usize = 1000;
const NAME_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_a_path_that_cannot_collide() {
        let check = |name: &str, wanted: &str| {
            let path = account_path(&AccountName(name.to_owned()));
            assert_eq!(path, format!("/org/postrider/Postrider1/account/{wanted}"));
            assert!(zbus::ObjectPath::try_from(path).is_ok());
        };
        check("work", "work");
        check("me@example.com", "me_40example_2ecom");
        check("a_b", "a_5fb");
        check("ü", "_c3_bc");
    }

    #[test]
    fn too_much_is_refused() {
        assert!(some_names(vec!["a".repeat(NAME_BYTES_MAX)]).is_ok());
        assert!(some_names(vec!["a".repeat(NAME_BYTES_MAX + 1)]).is_err());
        assert!(some_names(vec![String::new(); NAMES_MAX + 1]).is_err());
    }
}
