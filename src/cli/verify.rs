//! `postrider verify`: a read-only audit of an account. Beside floor 5.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::complaint::Complaint;
use super::{completions, log, print};
use crate::daemon::settings::nearest;
use crate::daemon::verify::{Verdict, verify};
use crate::daemon::{paths, settings};
use crate::model::failure::server_words;
use crate::model::ids::{AccountName, MailboxName};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which account
    #[arg(add = completions::accounts())]
    account: String,
    /// Fetch every message and compare it byte for byte
    #[arg(long)]
    bytes: bool,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: Option<&Path>, args: &Args) -> Result<u8, Complaint> {
    let settings = settings::load(&settings::locate(config))?;
    let name = AccountName(args.account.clone());
    if !settings.accounts.contains_key(&name) {
        let names = settings.accounts.keys().map(|name| name.as_str());
        return Err(Complaint::no_account(&args.account, nearest(&args.account, names)));
    }
    log::start("warn");
    let verdicts = verify(&settings, &paths::state_dir(), &name, args.bytes).await?;
    print::out(&if args.json { as_json(&name, &verdicts) } else { shown(&verdicts, args.bytes) })?;
    let is_ok = verdicts.values().all(|v| v.findings.is_empty());
    // EX_DATAERR: what was looked at is not as it should be.
    Ok(if is_ok { 0 } else { 65 })
}

fn as_json(account: &AccountName, verdicts: &BTreeMap<MailboxName, Verdict>) -> String {
    let mailboxes = verdicts.iter().map(|(name, verdict)| {
        let findings = verdict
            .findings
            .iter()
            .map(|(uid, base, what)| json!({ "uid": uid, "file": base, "what": what }));
        json!({
            "name": name.as_str(),
            "agreed": verdict.n_agreed,
            "skipped": verdict.n_skipped,
            "compared": verdict.n_compared,
            "findings": findings.collect::<Vec<_>>(),
        })
    });
    let is_ok = verdicts.values().all(|v| v.findings.is_empty());
    let mailboxes: Vec<_> = mailboxes.collect();
    json!({ "ok": is_ok, "account": account.as_str(), "mailboxes": mailboxes }).to_string()
}

fn shown(verdicts: &BTreeMap<MailboxName, Verdict>, bytes: bool) -> String {
    let mut heads = vec!["MAILBOX", "AGREED", "LEFT BY A LIMIT", "FINDINGS"];
    if bytes {
        heads.push("BYTES COMPARED");
    }
    let mut rows = vec![heads.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for (name, verdict) in verdicts {
        let mut row = vec![
            server_words(name.as_str()),
            verdict.n_agreed.to_string(),
            verdict.n_skipped.to_string(),
            verdict.findings.len().to_string(),
        ];
        if bytes {
            row.push(verdict.n_compared.to_string());
        }
        rows.push(row);
    }
    let mut text = print::columns(&rows);
    for (name, verdict) in verdicts {
        for (uid, base, what) in verdict.findings.iter().take(SHOWN_MAX) {
            let uid = uid.map_or_else(String::new, |uid| format!(" UID {uid}"));
            let base =
                base.as_deref().map_or_else(String::new, |b| format!(" {}", server_words(b)));
            text.push_str(&format!("\n{}:{uid}{base}: {what}", server_words(name.as_str())));
        }
        let more = verdict.findings.len().saturating_sub(SHOWN_MAX);
        if more > 0 {
            text.push_str(&format!("\n{}: and {more} more (--json)", server_words(name.as_str())));
        }
    }
    if verdicts.values().any(|v| !v.findings.is_empty()) {
        text.push_str("\nwhat is new on a side is synced by: postrider sync");
    }
    text
}

const SHOWN_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_agree_is_named() {
        let findings = vec![(Some(7), Some("a".to_owned()), "bytes differ")];
        let verdict = Verdict { n_agreed: 3, n_skipped: 1, n_compared: 4, findings };
        let text = shown(&BTreeMap::from([(MailboxName::inbox(), verdict)]), true);
        assert_eq!(
            text,
            "MAILBOX  AGREED  LEFT BY A LIMIT  FINDINGS  BYTES COMPARED\n\
             INBOX    3       1                1         4\n\
             INBOX: UID 7 a: bytes differ\n\
             what is new on a side is synced by: postrider sync"
        );
    }
}
