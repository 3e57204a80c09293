//! `postrider mua NAME`: what a mail reader has to be told. Beside floor 5.

use std::fmt::Write as _;
use std::path::Path;

use clap::ValueEnum;

use super::complaint::Complaint;
use super::print;
use crate::daemon::settings;
use crate::model::account::{Account, Layout, Role, Settings};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The mail reader
    name: Reader,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Reader {
    Neomutt,
    Mutt,
    Aerc,
    Mu4e,
    Notmuch,
    Gnus,
    Himalaya,
}

/// The mail readers that are known.
pub(super) fn names() -> Vec<String> {
    let known = Reader::value_variants().iter().filter_map(Reader::to_possible_value);
    known.map(|value| value.get_name().to_owned()).collect()
}

/// Shows what a mail reader has to know: what `setup` offers.
pub(super) fn show(config: Option<&Path>, name: &str) -> Result<(), Complaint> {
    let known = || Complaint::plain(64, &format!("{name:?} is none of {}", names().join(", ")));
    let name = Reader::from_str(name, true).map_err(|_| known())?;
    run(config, &Args { name }).map(drop)
}

pub(super) fn run(config: Option<&Path>, args: &Args) -> Result<u8, Complaint> {
    let settings = settings::load(&settings::locate(config))?;
    let accounts: Vec<&Account> = settings.accounts.values().filter(|a| a.enabled).collect();
    let program = std::env::current_exe()
        .map_or_else(|_| "postrider".to_owned(), |path| path.display().to_string());
    let snippet = match args.name {
        Reader::Neomutt | Reader::Mutt => mutt(&accounts, &program),
        Reader::Aerc => aerc(&accounts, &program),
        Reader::Mu4e => mu4e(&accounts, &program),
        Reader::Notmuch => notmuch(&accounts, &settings),
        Reader::Gnus => gnus(&accounts, &program),
        Reader::Himalaya => himalaya(&accounts, &program),
    };
    print::out(snippet.trim_end())?;
    Ok(0)
}

/// The directory of a role, relative to the Maildir.
fn role(account: &Account, role: Role, default: &str) -> String {
    let name = account.roles.get(&role).map_or(default, |name| name.as_str());
    match account.layout {
        Layout::Fs => name.to_owned(),
        Layout::MaildirPlusPlus => format!(".{}", name.replace('/', ".")),
    }
}

fn inbox(account: &Account) -> &'static str {
    match account.layout {
        Layout::Fs => "INBOX",
        Layout::MaildirPlusPlus => "",
    }
}

fn path(account: &Account, below: &str) -> String {
    let path = if below.is_empty() { account.maildir.clone() } else { account.maildir.join(below) };
    path.display().to_string()
}

fn mutt(accounts: &[&Account], program: &str) -> String {
    let mut out = String::from("# ~/.muttrc, or ~/.config/neomutt/neomuttrc\n");
    let _ =
        writeln!(out, "set mbox_type = Maildir\nset sendmail = \"{program} sendmail -oi -oem\"");
    out.push_str("set use_envelope_from = yes\n# postrider files sent mail.\nunset record\n");
    for (n, account) in accounts.iter().enumerate() {
        let folder = path(account, "");
        let inbox = path(account, inbox(account));
        let (drafts, trash) =
            (role(account, Role::Drafts, "Drafts"), role(account, Role::Trash, "Trash"));
        let set = format!(
            "set from = \"{}\" folder = \"{folder}\" postponed = \"{}\" trash = \"{}\"",
            account.address,
            path(account, &drafts),
            path(account, &trash),
        );
        let _ = writeln!(out, "\n# {}", account.name);
        if n == 0 {
            let _ = writeln!(out, "{set}\nset spoolfile = \"{inbox}\"");
        }
        let _ = writeln!(out, "mailboxes \"{inbox}\"");
        let _ = writeln!(out, "folder-hook \"{folder}\" '{set}'");
    }
    out
}

fn aerc(accounts: &[&Account], program: &str) -> String {
    let mut out = String::from("# ~/.config/aerc/accounts.conf (mode 0600)\n");
    for account in accounts {
        let kind = match account.layout {
            Layout::Fs => "maildir",
            Layout::MaildirPlusPlus => "maildirpp",
        };
        let default = match account.layout {
            Layout::Fs => "INBOX",
            Layout::MaildirPlusPlus => "INBOX",
        };
        let _ = writeln!(
            out,
            "\n[{}]\nsource = {kind}://{}\noutgoing = {program} sendmail -t\nfrom = <{}>\ndefault = {default}\n\
             # postrider files sent mail: there is no copy-to.",
            account.name,
            path(account, ""),
            account.address
        );
    }
    out
}

fn mu4e(accounts: &[&Account], program: &str) -> String {
    let root = common_root(accounts);
    let mut out = format!(
        ";; once: mu init --maildir={root}\n(setq mu4e-maildir \"{root}\"\n      \
         ;; postrider syncs by itself; this only tells mu.\n      mu4e-get-mail-command \"true\"\n      \
         mu4e-update-interval 60\n      ;; postrider files sent mail.\n      \
         mu4e-sent-messages-behavior 'delete\n      \
         send-mail-function #'sendmail-send-it\n      message-send-mail-function #'message-send-mail-with-sendmail\n      \
         sendmail-program \"{program}\"\n      message-sendmail-extra-arguments '(\"sendmail\")\n      \
         message-sendmail-f-is-evil t)\n(setq mu4e-contexts\n      (list\n"
    );
    for account in accounts {
        let below = |default: &str, which| {
            let full = path(account, &role(account, which, default));
            full.strip_prefix(&root).unwrap_or(&full).to_owned()
        };
        let _ = writeln!(
            out,
            "       (make-mu4e-context :name \"{}\"\n         :vars '((user-mail-address . \"{}\")\n                 \
             (mu4e-drafts-folder . \"{}\")\n                 (mu4e-sent-folder . \"{}\")\n                 \
             (mu4e-trash-folder . \"{}\")))",
            account.name,
            account.address,
            below("Drafts", Role::Drafts),
            below("Sent", Role::Sent),
            below("Trash", Role::Trash)
        );
    }
    out.push_str("       ))\n");
    out
}

fn notmuch(accounts: &[&Account], settings: &Settings) -> String {
    let first = accounts.first().map(|account| account.address.clone()).unwrap_or_default();
    let mut others: Vec<String> = accounts.iter().skip(1).map(|a| a.address.clone()).collect();
    others.extend(accounts.iter().flat_map(|a| a.aliases.clone()).filter(|a| !a.starts_with('*')));
    format!(
        "# ~/.notmuch-config, or: notmuch setup\n[database]\npath={}\n[user]\nprimary_email={first}\n\
         other_email={}\n[new]\ntags=unread;inbox;\nignore=.postrider;{};dovecot-keywords\n[maildir]\n\
         synchronize_flags=true\n",
        common_root(accounts),
        others.join(";"),
        settings.outbox.dir.file_name().unwrap_or_default().to_string_lossy(),
    )
}

fn gnus(accounts: &[&Account], program: &str) -> String {
    let mut out = String::from(
        ";; ~/.gnus.el (Emacs 29: nnmaildir)\n(setq gnus-select-method '(nnnil \"\")\n      gnus-secondary-select-methods\n      '(",
    );
    for (n, account) in accounts.iter().enumerate() {
        let indent = if n == 0 { "" } else { "\n        " };
        let _ = write!(
            out,
            "{indent}(nnmaildir \"{}\" (directory \"{}\"))",
            account.name,
            path(account, "")
        );
    }
    let _ = writeln!(
        out,
        "))\n(setq send-mail-function #'sendmail-send-it\n      message-send-mail-function #'message-send-mail-with-sendmail\n      \
         sendmail-program \"{program}\"\n      message-sendmail-extra-arguments '(\"sendmail\")\n      \
         ;; postrider files sent mail.\n      gnus-message-archive-group nil)"
    );
    out
}

fn himalaya(accounts: &[&Account], program: &str) -> String {
    let mut out = format!(
        "# ~/.config/himalaya/config.toml, for himalaya 2\n\
         # By itself it sends by SMTP only. So that postrider sends what it writes, and files the copy:\n\
         #   himalaya message compose --to ADDRESS --subject WORDS | {program} sendmail -t\n"
    );
    for (n, account) in accounts.iter().enumerate() {
        if account.layout == Layout::MaildirPlusPlus {
            let name = &account.name;
            let _ = writeln!(
                out,
                "\n# {name}: himalaya 2 reads the layout fs only, and this is maildir++."
            );
            continue;
        }
        let _ = writeln!(
            out,
            "\n[accounts.{name}]\ndefault = {}\nemail = \"{}\"\nmaildir.root = \"{}\"\n\
             maildir.keywords.dovecot = true\nmailbox.alias.inbox = \"INBOX\"",
            n == 0,
            account.address,
            path(account, ""),
            name = account.name,
        );
        for (which, default) in
            [(Role::Sent, "Sent"), (Role::Drafts, "Drafts"), (Role::Trash, "Trash")]
        {
            let (alias, mailbox) = (which.as_str(), role(account, which, default));
            let _ = writeln!(out, "mailbox.alias.{alias} = \"{mailbox}\"");
        }
    }
    out
}

/// The directory that all Maildirs are in.
fn common_root(accounts: &[&Account]) -> String {
    let mut roots = accounts.iter().map(|account| account.maildir.as_path());
    let Some(mut root) = roots.next() else { return String::new() };
    if accounts.len() == 1 {
        root = root.parent().unwrap_or(root);
    }
    for other in roots {
        while !other.starts_with(root) {
            root = root.parent().unwrap_or(root);
        }
    }
    root.display().to_string()
}
