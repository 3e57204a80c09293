//! What to log in with: from the command line, or asked for. Beside floor 5.

use super::Args;
use super::ask::{hidden, question};
use super::table::Secret;
use crate::cli::complaint::Complaint;
use crate::cli::print;
use crate::daemon::login::keep_password;
use crate::model::provider::{Preset, PresetAuth};

/// What the account logs in with. A password that is typed goes to the keyring, and nowhere else.
pub(super) async fn secret(
    args: &Args,
    account: &str,
    preset: Option<&Preset>,
) -> Result<Secret, Complaint> {
    if let Some(secret) = told(args) {
        return Ok(secret);
    }
    let takes_passwords = preset.is_none_or(|preset| preset.auth.contains(&PresetAuth::Password));
    if args.yes {
        let what = match takes_passwords {
            true => {
                "there is no password\n  to mend it:  --password-command COMMAND, or --password-file FILE"
            }
            false => {
                "it takes no passwords\n  to mend it:  --client-id ID (of a registration of your own), or --token-command COMMAND"
            }
        };
        return Err(Complaint::plain(64, what));
    }
    if !takes_passwords {
        return without_password();
    }
    let password = hidden("The password (it is kept in the keyring; empty: a command prints it):")?;
    if let Some(password) = password {
        match keep_password(account, &password).await {
            Ok(()) => return Ok(Secret::Keyring),
            Err(failure) => print::trouble(&Complaint::from(failure).text),
        }
    }
    let command = question("A command that prints the password (like: pass show mail):")?;
    if command.is_empty() {
        return Err(Complaint::plain(64, "without a password nothing can be tested"));
    }
    Ok(Secret::Command(command))
}

fn told(args: &Args) -> Option<Secret> {
    if let Some(command) = &args.password_command {
        return Some(Secret::Command(command.clone()));
    }
    if let Some(command) = &args.token_command {
        return Some(Secret::Token(command.clone()));
    }
    if let Some(id) = &args.client_id {
        return Some(Secret::OAuth(id.clone(), args.client_secret_command.clone()));
    }
    let file = args.password_file.as_ref()?;
    Some(Secret::File(std::path::absolute(file).unwrap_or_else(|_| file.clone())))
}

fn without_password() -> Result<Secret, Complaint> {
    let id = question("The client id of your registration (empty: a command prints tokens):")?;
    if !id.is_empty() {
        return Ok(Secret::OAuth(id, None));
    }
    let command = question("A command that prints a token:")?;
    if command.is_empty() {
        return Err(Complaint::plain(64, "without a token nothing can be tested"));
    }
    Ok(Secret::Token(command))
}
