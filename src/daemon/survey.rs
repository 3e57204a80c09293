//! What an account holds on its server, for whoever sets it up. Floor 5.

use crate::adapters::imap::{Contents, ImapConnector};
use crate::adapters::pop3::Pop3Drop;
use crate::model::account::{Account, ImapSettings, PopSettings, Role};
use crate::model::failure::Failure;
use crate::model::survey::{Size, Survey, Surveyed};
use crate::model::view::RemoteMailbox;
use crate::rules::mailboxes::{roles, takes_part};

/// Logs in, and tells what is there.
///
/// # Errors
/// The login failed, or the mailboxes cannot be listed.
pub(super) async fn imap(account: &Account, imap: &ImapSettings) -> Result<Survey, Failure> {
    let connector = ImapConnector::new(imap.clone(), account.name.as_str());
    let chosen = |mailbox: &RemoteMailbox| takes_part(&account.sync, &mailbox.name, Some(mailbox));
    Ok(sorted(account, &connector.contents(chosen).await?))
}

fn sorted(account: &Account, contents: &Contents) -> Survey {
    let roles = roles(&account.roles, &contents.mailboxes);
    let holding = contents.mailboxes.iter().filter(|mailbox| mailbox.selectable);
    let mut mailboxes: Vec<Surveyed> = holding
        .map(|mailbox| Surveyed {
            name: mailbox.name.clone(),
            role: roles
                .iter()
                .find_map(|(role, name)| (*name == mailbox.name).then_some(*role))
                .or(mailbox.role),
            n_messages: mailbox.status.map(|status| status.exists.into()),
            is_synced: takes_part(&account.sync, &mailbox.name, Some(mailbox)),
        })
        .collect();
    // Roles stand in the order in which people look for them; those without one come last.
    mailboxes.sort_by(|a, b| {
        let place = |one: &Surveyed| (one.role.is_none(), one.role);
        place(a).cmp(&place(b)).then_with(|| a.name.cmp(&b.name))
    });
    Survey { mailboxes, size: contents.size }
}

/// What is in a maildrop; none if the server does not say.
pub(super) async fn pop3(pop: &PopSettings, maildrop: &mut Pop3Drop) -> Option<Survey> {
    let (n_messages, n_bytes) = maildrop.totals().await.ok()?;
    let mailbox = Surveyed {
        name: pop.mailbox.clone(),
        role: Some(Role::Inbox),
        n_messages: Some(n_messages),
        is_synced: true,
    };
    Some(Survey { mailboxes: vec![mailbox], size: Size::Exactly(n_bytes) })
}
