//! `postrider check` and `postrider doctor`: configuration, secrets, logins, permissions. Beside floor 5.

use std::path::Path;

use serde_json::json;

use super::complaint::{Complaint, lines};
use super::{completions, log, print};
use crate::daemon::check::{Finding, check};
use crate::daemon::doctor::doctor;
use crate::daemon::settings::{self, nearest};
use crate::model::ids::AccountName;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this account
    #[arg(add = completions::accounts())]
    account: Option<String>,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// How far to look.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope {
    /// `check`.
    Accounts,
    /// `doctor`.
    Machine,
}

pub(super) async fn run(config: Option<&Path>, args: &Args, scope: Scope) -> Result<u8, Complaint> {
    let settings = settings::load(&settings::locate(config))?;
    let names = || settings.accounts.keys().map(AccountName::as_str);
    let only = args.account.as_ref().map(|name| AccountName(name.clone()));
    if let Some(only) = &only
        && !settings.accounts.contains_key(only)
    {
        let nearest = nearest(only.as_str(), names());
        return Err(Complaint::no_account(only.as_str(), nearest));
    }
    log::start("error");
    let findings = match scope {
        Scope::Accounts => Box::pin(check(&settings, only.as_ref())).await,
        Scope::Machine => Box::pin(doctor(&settings, only.as_ref())).await,
    };
    let failures = findings.iter().filter_map(|finding| finding.failure.as_ref());
    let worst = failures.map(|failure| failure.kind.exit_code()).max().unwrap_or_default();
    print::out(&if args.json { as_json(&findings) } else { as_text(&findings) })?;
    Ok(worst)
}

pub(super) fn as_text(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let account = finding.account.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        match &finding.failure {
            None => match &finding.advice {
                None => format!("✓ {account}{}", finding.what),
                Some(advice) => {
                    format!("! {account}{}\n  to mend it:  {advice}", finding.what)
                }
            },
            Some(failure) => format!("✗ {account}{}: {}", finding.what, lines(failure)),
        }
    };
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn as_json(findings: &[Finding]) -> String {
    let finding = |finding: &Finding| {
        json!({
            "account": finding.account.as_ref().map(AccountName::as_str),
            "what": finding.what,
            "ok": finding.failure.is_none(),
            "advice": finding.advice,
            "error": finding.failure.as_ref().map(|failure| json!({
                "code": failure.kind.error_name(),
                "text": failure.to_string(),
                "cure": failure.cure,
            })),
        })
    };
    let is_ok = findings.iter().all(|finding| finding.failure.is_none());
    let findings: Vec<_> = findings.iter().map(finding).collect();
    json!({"ok": is_ok, "findings": findings}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::{Failure, Kind, Remedy, Scope as Reach};

    #[test]
    fn each_finding_has_its_sign_and_each_fault_its_cure() {
        let failure = Failure::new(Reach::Account, Remedy::Never, Kind::AuthFailed, "log in")
            .at("h:993")
            .cure("do this");
        let account = Some(AccountName("work".to_owned()));
        let findings = [
            Finding {
                account: None,
                what: "configuration c".to_owned(),
                failure: None,
                advice: None,
            },
            Finding {
                account,
                what: "IMAP login".to_owned(),
                failure: Some(failure),
                advice: None,
            },
        ];
        assert_eq!(
            as_text(&findings),
            "✓ configuration c\n✗ work: IMAP login: log in at h:993\n  to mend it:  do this"
        );
        let document: serde_json::Value = serde_json::from_str(&as_json(&findings)).unwrap();
        assert_eq!(document["ok"], false);
        assert_eq!(document["findings"][1]["error"]["code"], "AuthFailed");
    }
}
