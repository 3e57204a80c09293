//! The audit of an account, in this process. Floor 5.

use std::collections::BTreeMap;
use std::path::Path;

use crate::daemon::{paths, wiring};
use crate::engine::board::{Board, micros_now};
use crate::engine::verify::Audit;
use crate::model::account::Settings;
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::{AccountName, MailboxName};

/// What one mailbox came to, ready to be shown.
pub struct Verdict {
    /// Messages on which all agree.
    pub n_agreed: u64,
    /// Messages that a limit left on the server.
    pub n_skipped: u64,
    /// Messages whose bytes were compared.
    pub n_compared: u64,
    /// UID, base name, and what is the matter.
    pub findings: Vec<(Option<u32>, Option<String>, &'static str)>,
}

/// Audits every mailbox of an account; nothing is changed anywhere.
///
/// # Errors
/// The account receives no mail by IMAP, or a side could not be looked at.
pub async fn verify(
    settings: &Settings,
    state_dir: &Path,
    name: &AccountName,
    bytes: bool,
) -> Result<BTreeMap<MailboxName, Verdict>, Failure> {
    let fail = |kind, detail: &str| {
        let what = format!("verify account {:?}", name.as_str());
        Failure::new(Scope::Account, Remedy::Never, kind, what).detail(detail)
    };
    let account = settings.accounts.get(name);
    let account = account.ok_or_else(|| fail(Kind::NotFound, "there is no such account"))?;
    let ledger = paths::ledger(state_dir, name);
    if !ledger.exists() {
        let failure = fail(Kind::NotFound, "it was never synced");
        return Err(failure.cure(format!("postrider sync {}", name.as_str())));
    }
    let (board, _status) = Board::new(wiring::first_status(settings, micros_now()));
    let worker = wiring::auditor(account, &ledger, board)?;
    let mut worker =
        worker.ok_or_else(|| fail(Kind::NotSupported, "only IMAP has two sides to compare"))?;
    let audits = worker.verify(bytes).await?;
    Ok(audits.into_iter().map(|(mailbox, audit)| (mailbox, verdict(audit))).collect())
}

fn verdict(audit: Audit) -> Verdict {
    let findings = audit.findings.into_iter();
    Verdict {
        n_agreed: audit.n_agreed,
        n_skipped: audit.n_skipped,
        n_compared: audit.n_compared,
        findings: findings
            .map(|f| (f.uid.map(|uid| uid.get()), f.base.map(|base| base.0), f.what.as_str()))
            .collect(),
    }
}
