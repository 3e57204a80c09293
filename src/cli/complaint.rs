//! What went wrong, ready for a person: the text on stderr and the exit code. Beside floor 5.

use std::process::ExitCode;

use super::print;
use crate::daemon::settings::ConfigError;
use crate::model::failure::{Failure, Kind, server_words};

/// An error of a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) exit: u8,
    /// All lines, without the last line end.
    pub(super) text: String,
}

impl Complaint {
    /// An error in a sentence.
    pub(super) fn plain(exit: u8, text: &str) -> Self {
        Self { exit, text: format!("error: {text}") }
    }

    /// There is no account of this name.
    pub(super) fn no_account(name: &str, nearest: Option<&str>) -> Self {
        let shown = server_words(name);
        let meant = nearest.map(|nearest| format!("; did you mean \"{nearest}\"?"));
        let meant = meant.unwrap_or_default();
        Self::plain(
            67,
            &format!(
                "there is no account \"{shown}\"{meant}\n  \
                 to mend it:  postrider status shows the accounts of the configuration"
            ),
        )
    }

    /// An account has no mailbox of this name.
    pub(super) fn no_mailbox(account: &str, mailbox: &str) -> Self {
        let (account, mailbox) = (server_words(account), server_words(mailbox));
        Self::plain(
            67,
            &format!(
                "account {account} has no mailbox \"{mailbox}\"\n  \
                 to mend it:  postrider mailboxes {account}"
            ),
        )
    }

    /// Shows it.
    pub(super) fn show(&self) -> ExitCode {
        print::trouble(&self.text);
        ExitCode::from(self.exit)
    }
}

impl From<&Failure> for Complaint {
    fn from(failure: &Failure) -> Self {
        Self { exit: failure.kind.exit_code(), text: format!("error: {}", lines(failure)) }
    }
}

impl From<Failure> for Complaint {
    fn from(failure: Failure) -> Self {
        Self::from(&failure)
    }
}

impl From<ConfigError> for Complaint {
    fn from(err: ConfigError) -> Self {
        Self { exit: Kind::Config.exit_code(), text: err.to_string() }
    }
}

/// The name, without prefix, and the text of an error that the daemon gives as its answer.
pub(super) fn answered(err: &zbus::Error) -> Option<(&str, String)> {
    let zbus::Error::MethodError(name, text, _) = err else { return None };
    let name = name.as_str().strip_prefix("org.postrider.Postrider1.Error.")?;
    Some((name, server_words(text.as_deref().unwrap_or(name))))
}

impl From<zbus::Error> for Complaint {
    fn from(err: zbus::Error) -> Self {
        if let Some((name, text)) = answered(&err) {
            return Self::plain(exit_code(name), &text);
        }
        Self::plain(75, &format!("talk to the daemon: {}", server_words(&err.to_string())))
    }
}

/// What and where, then the server's words, what that means and what mends it, each on its line.
pub(super) fn lines(failure: &Failure) -> String {
    let mut text = failure.what.clone();
    if let Some(place) = &failure.place {
        text.push_str(&format!(" at {place}"));
    }
    let more = [
        ("server said:", &failure.server_said),
        ("this means: ", &failure.detail),
        ("to mend it: ", &failure.cure),
    ];
    for (label, words) in more {
        if let Some(words) = words {
            text.push_str(&format!("\n  {label} {words}"));
        }
    }
    text
}

/// A failure that came as one line, taken apart again; its parts cannot hold a line end.
pub(super) fn unfold(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    let (text, cure) = match text.rsplit_once(" (to mend it: ") {
        Some((text, cure)) => (text, Some(cure.strip_suffix(')').unwrap_or(cure))),
        None => (text.as_str(), None),
    };
    let (what, said) = match text.split_once(": server said: ") {
        Some((what, said)) => (what, Some(said)),
        None => (text, None),
    };
    let mut lines = what.to_owned();
    for (label, words) in [("server said:", said), ("to mend it: ", cure)] {
        if let Some(words) = words {
            lines.push_str(&format!("\n  {label} {words}"));
        }
    }
    lines
}

/// The exit code that goes with the name of a D-Bus error.
pub(super) fn exit_code(name: &str) -> u8 {
    match name {
        "InvalidAddress" | "NoAccountForSender" | "MessageTooBig" => 65,
        "NoSuchAccount" | "NoSuchMailbox" | "NoSuchMessage" | "NoSuchJob" => 67,
        "Offline" | "Timeout" => 69,
        "LocalIo" => 74,
        "Busy" | "Paused" => 75,
        "NeedsLogin" | "AuthFailed" | "KeyringLocked" => 77,
        "ConfigInvalid" => 78,
        // TlsUntrusted, NotSupported, Protocol, and what a newer daemon may add.
        _ => 76,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::{Remedy, Scope};

    #[test]
    fn a_failure_says_what_where_whose_words_what_it_means_and_the_cure() {
        let failure =
            Failure::new(Scope::Account, Remedy::Never, Kind::AuthFailed, "log in to account work")
                .at("imap.example.com:993 (IMAP, LOGIN)")
                .said("NO no")
                .detail("the password was refused")
                .cure("postrider check work");
        let complaint = Complaint::from(&failure);
        assert_eq!(complaint.exit, 77);
        assert_eq!(
            complaint.text,
            "error: log in to account work at imap.example.com:993 (IMAP, LOGIN)\n  \
             server said: NO no\n  \
             this means:  the password was refused\n  \
             to mend it:  postrider check work"
        );
    }

    #[test]
    fn a_failure_in_one_line_is_taken_apart_again() {
        let failure = Failure::new(Scope::Account, Remedy::Never, Kind::AuthFailed, "log in")
            .at("h:993 (IMAP, LOGIN)")
            .said("NO (to mend it: rm)")
            .cure("postrider check work");
        assert_eq!(
            unfold(&failure.to_string()),
            "log in at h:993 (IMAP, LOGIN)\n  server said: NO (to mend it: rm)\n  \
             to mend it:  postrider check work"
        );
        assert_eq!(unfold("plain"), "plain");
    }

    #[test]
    fn each_error_name_has_the_exit_code_of_its_kind() {
        let kinds = [
            Kind::Offline,
            Kind::Timeout,
            Kind::TlsUntrusted,
            Kind::AuthFailed,
            Kind::NeedsLogin,
            Kind::Throttled,
            Kind::Refused,
            Kind::Protocol,
            Kind::LocalIo,
            Kind::StoreMissing,
            Kind::Config,
            Kind::NotFound,
            Kind::Busy,
            Kind::Address,
            Kind::TooBig,
            Kind::NotSupported,
        ];
        for kind in kinds {
            assert_eq!(exit_code(kind.error_name()), kind.exit_code(), "{kind:?}");
        }
    }
}
