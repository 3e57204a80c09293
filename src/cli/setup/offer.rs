//! What `setup` offers once the account stands in the configuration. Beside floor 5.

use std::path::Path;

use super::ask::{agrees, question};
use crate::cli::complaint::Complaint;
use crate::cli::{mua, print, service};

/// Offers the service and what a mail reader has to know, and says what comes next. Nobody is asked where
/// nobody wants to be: then nothing is installed either.
pub(super) fn offer(config: Option<&Path>, account: &str, asks: bool) -> Result<(), Complaint> {
    let mut next = Vec::new();
    let is_installed = asks && offer_service(config)?;
    if is_installed {
        next.push("postrider status   (how it is)".to_owned());
    } else {
        next.push("postrider service install   (runs it in the background)".to_owned());
        next.push(format!("postrider sync {account}   (one pass now)"));
    }
    if !(asks && offer_reader(config)?) {
        next.push("postrider mua neomutt   (what a mail reader has to know)".to_owned());
    }
    print::out(&format!("\nnext: {}", next.join("\n      ")))
}

/// Whether the service is there now. That it cannot be installed is told, and spoils nothing.
fn offer_service(config: Option<&Path>) -> Result<bool, Complaint> {
    if !agrees("Install the service, which runs it in the background?")? {
        return Ok(false);
    }
    match service::install_here(config) {
        Ok(()) => Ok(true),
        Err(complaint) => {
            print::trouble(&complaint.text);
            Ok(false)
        }
    }
}

/// Whether the person was shown what a mail reader has to know.
fn offer_reader(config: Option<&Path>) -> Result<bool, Complaint> {
    let readers = mua::names().join(", ");
    let asked = format!("Show what a mail reader has to know ({readers}; empty: not now)?");
    let name = question(&asked)?;
    if name.is_empty() {
        return Ok(false);
    }
    match mua::show(config, &name) {
        Ok(()) => Ok(true),
        Err(complaint) => {
            print::trouble(&complaint.text);
            Ok(false)
        }
    }
}
