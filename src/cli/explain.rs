//! `postrider explain CODE`: an error at length. Beside floor 5.

use serde_json::json;

use super::complaint::{Complaint, exit_code};
use super::{completions, print};
use crate::daemon::settings::nearest;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The code, as in `status`, in `--json`, or in the name of a D-Bus error; all without it
    #[arg(add = completions::codes())]
    code: Option<String>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// What is said about a code: meaning, what postrider does by itself, what mends it.
#[derive(Debug)]
struct Entry {
    code: &'static str,
    means: &'static str,
    does: &'static str,
    mend: &'static str,
}

pub(super) fn run(args: &Args) -> Result<u8, Complaint> {
    let chosen: Vec<&Entry> = match args.code.as_deref() {
        None => ENTRIES.iter().collect(),
        Some(code) => vec![find(code)?],
    };
    if args.json {
        let one = |entry: &&Entry| {
            json!({"code": entry.code, "exit": exit_code(entry.code), "means": entry.means,
                "does": entry.does, "mend": entry.mend})
        };
        let list: Vec<_> = chosen.iter().map(one).collect();
        print::out(&json!({"codes": list}).to_string())?;
    } else if args.code.is_none() {
        let rows: Vec<Vec<String>> = chosen
            .iter()
            .map(|entry| vec![entry.code.to_owned(), entry.means.to_owned()])
            .collect();
        print::out(&print::columns(&rows))?;
    } else {
        print::out(&chosen.iter().map(|entry| text(entry)).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(0)
}

/// Each code and what it means.
pub(super) fn codes() -> impl Iterator<Item = (&'static str, &'static str)> {
    ENTRIES.iter().map(|entry| (entry.code, entry.means))
}

fn find(code: &str) -> Result<&'static Entry, Complaint> {
    let short = code.rsplit('.').next().unwrap_or(code);
    let found = ENTRIES.iter().find(|entry| entry.code.eq_ignore_ascii_case(short));
    found.ok_or_else(|| {
        let meant = nearest(short, ENTRIES.iter().map(|entry| entry.code));
        let meant = meant.map(|meant| format!("; did you mean \"{meant}\"?")).unwrap_or_default();
        Complaint::plain(
            64,
            &format!("there is no code {code:?}{meant}\n  to mend it:  postrider explain"),
        )
    })
}

fn text(entry: &Entry) -> String {
    format!(
        "{} (exit code {})\n\nIt means: {}\n\npostrider: {}\n\nTo mend it: {}",
        entry.code,
        exit_code(entry.code),
        entry.means,
        entry.does,
        entry.mend
    )
}

/// One for each error name of the product page, §5.
const ENTRIES: &[Entry] = &[
    Entry {
        code: "AuthFailed",
        means: "the server refused the user's name or the password.",
        does: "tries once more after a while, in case the server was wrong, and then waits: more \
               attempts could lock the account. Mail that is here stays usable, outgoing mail waits.",
        mend: "check user and password, then: postrider check ACCOUNT. Providers with two-factor \
               login want an app password; postrider providers NAME says where it is made.",
    },
    Entry {
        code: "Busy",
        means: "somebody asked to wait: the server slows us down, or another postrider has the lock.",
        does: "comes back after the time that the server named, else with growing pauses.",
        mend: "nothing, if it is the server. A second daemon for the same state directory is named \
               with its pid.",
    },
    Entry {
        code: "ConfigInvalid",
        means: "the configuration file is wrong; the message has line, column and key.",
        does: "refuses to start; a running daemon keeps the settings that it has.",
        mend: "correct the file, then: postrider check; postrider reload.",
    },
    Entry {
        code: "InvalidAddress",
        means: "an address is not one, or there is none to send to.",
        does: "keeps the message in the outbox, parked, with a reason beside it.",
        mend: "correct the header or the argument and drop the message again.",
    },
    Entry {
        code: "KeyringLocked",
        means: "the secret is in a keyring that is locked.",
        does: "waits without an error until the keyring is unlocked.",
        mend: "unlock the keyring, or log in to the desktop.",
    },
    Entry {
        code: "LocalIo",
        means: "a file or directory here could not be read or written, or the Maildir is missing.",
        does: "deletes nothing anywhere, and tries again.",
        mend: "free space, mount the file system, or correct permissions, as the message says.",
    },
    Entry {
        code: "MessageTooBig",
        means: "the message is larger than the server takes.",
        does: "parks it without sending a byte of its text.",
        mend: "send a smaller one, or a link.",
    },
    Entry {
        code: "NeedsLogin",
        means: "there is no secret to log in with: its command failed, its file is missing, or a \
                sign-in has run out.",
        does: "waits; mail that is here stays usable, outgoing mail waits.",
        mend: "run the password command by hand, or sign in again: postrider login ACCOUNT; then: postrider \
               check ACCOUNT.",
    },
    Entry {
        code: "NoAccountForSender",
        means: "no account has the sender's address or an alias for it.",
        does: "keeps the message and sends nothing in another name.",
        mend: "add the address to aliases of an account, or name the account in X-Postrider-Account.",
    },
    Entry {
        code: "NoSuchAccount",
        means: "no account has this name.",
        does: "nothing.",
        mend: "postrider status lists the accounts.",
    },
    Entry {
        code: "NoSuchJob",
        means: "the job is over and its result was forgotten, or it never was.",
        does: "nothing.",
        mend: "sync again; the results of the newest jobs are kept.",
    },
    Entry {
        code: "NoSuchMailbox",
        means: "no mailbox has this name here or on the server.",
        does: "nothing.",
        mend: "postrider mailboxes lists them. Names are separated by / whatever the server uses.",
    },
    Entry {
        code: "NoSuchMessage",
        means: "there is no message of this number or id.",
        does: "nothing.",
        mend: "postrider outbox list, or postrider fetch ACCOUNT/MAILBOX, has the ids.",
    },
    Entry {
        code: "NotSupported",
        means: "the server, or this version, lacks what is needed.",
        does: "does the rest.",
        mend: "the message names what is missing.",
    },
    Entry {
        code: "Offline",
        means: "the server cannot be reached: no route, no name, connection refused or cut.",
        does: "dials again with growing pauses, and at once when the network changes. Nothing is \
               counted as an attempt to send.",
        mend: "check the network and host in the configuration, then: postrider check ACCOUNT.",
    },
    Entry {
        code: "Paused",
        means: "somebody paused postrider or the account, or a message in the outbox is held.",
        does: "waits for a person.",
        mend: "postrider resume; for a message: postrider outbox show ID says why, and postrider outbox \
               release ID sends it.",
    },
    Entry {
        code: "Protocol",
        means: "the server refused a command, or answered what is not in the protocol.",
        does: "drops the connection, believes nothing of what was said, and tries again.",
        mend: "the server's words are in the message; if they make no sense, report them.",
    },
    Entry {
        code: "Timeout",
        means: "the server did not answer in time.",
        does: "drops the connection and dials again.",
        mend: "if it is always so, raise timeout of that server.",
    },
    Entry {
        code: "TlsUntrusted",
        means: "the server's certificate is not one to be trusted for its name, or encryption failed.",
        does: "sends no password and nothing else, and waits.",
        mend: "check the clock and host. For a private authority: ca_file. For a self-signed \
               certificate: pin_sha256.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::Kind;

    #[test]
    fn every_kind_of_failure_has_an_explanation() {
        use Kind::*;
        for kind in [
            Offline,
            Timeout,
            TlsUntrusted,
            NotEncrypted,
            AuthFailed,
            NeedsLogin,
            KeyringLocked,
            Throttled,
            Refused,
            Protocol,
            LocalIo,
            StoreMissing,
            Config,
            NotFound,
            Busy,
            Address,
            TooBig,
            NotSupported,
        ] {
            assert!(find(kind.error_name()).is_ok(), "{kind:?}");
        }
        assert!(find("org.postrider.Postrider1.Error.AuthFailed").is_ok());
        assert!(find("authfailed").is_ok());
        assert!(find("AuthFaild").unwrap_err().text.contains("AuthFailed"));
    }
}
