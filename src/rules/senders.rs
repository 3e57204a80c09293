//! Which account sends a message. Floor 1.

use crate::model::account::Settings;
use crate::model::ids::AccountName;
use crate::model::outbox::Address;

/// An account, as far as sending is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// Its name.
    pub name: AccountName,
    /// Its address.
    pub address: String,
    /// Further addresses; `*@domain` is a wildcard.
    pub aliases: Vec<String>,
}

/// The accounts of the settings that can send.
pub fn sending(settings: &Settings) -> Vec<Sending> {
    those(settings, true)
}

/// The accounts that could send and are not enabled: their mail waits.
pub fn resting(settings: &Settings) -> Vec<Sending> {
    those(settings, false)
}

fn those(settings: &Settings, enabled: bool) -> Vec<Sending> {
    let able = settings.accounts.values().filter(|one| one.smtp.is_some());
    able.filter(|one| one.enabled == enabled)
        .map(|one| Sending {
            name: one.name.clone(),
            address: one.address.clone(),
            aliases: one.aliases.clone(),
        })
        .collect()
}

/// Returns the account that sends as this address.
///
/// An account's own address goes before aliases, those before wildcards; then all again without
/// `+detail`.
pub fn account_for<'a>(from: &Address, accounts: &'a [Sending]) -> Option<&'a AccountName> {
    let plain = from.local_part().split_once('+').map(|(user, _)| user);
    let without = plain.map(|user| format!("{user}@{}", from.domain()));
    let wildcard = format!("*@{}", from.domain());
    for text in std::iter::once(from.as_str().to_owned()).chain(without) {
        let same = |other: &str| other.to_lowercase() == text.to_lowercase();
        let own = accounts.iter().find(|account| same(&account.address));
        let alias = || accounts.iter().find(|account| account.aliases.iter().any(|a| same(a)));
        if let Some(found) = own.or_else(alias) {
            return Some(&found.name);
        }
    }
    let wild = |account: &&Sending| {
        account.aliases.iter().any(|alias| alias.to_lowercase() == wildcard.to_lowercase())
    };
    accounts.iter().find(wild).map(|account| &account.name)
}
