//! `postrider send [FILE]`: queues one message and prints its id. Floor 5.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::daemon::spool::{Answer, Spooling, spool};
use crate::model::outbox::Submitted;

/// Queues the message of a file, or of `input` without one. Its envelope is that of its header.
pub fn send(how: &Spooling<'_>, file: Option<&Path>, input: &mut dyn Read) -> Answer {
    let given = Submitted { from_header: true, ..Submitted::default() };
    let spooled = match file {
        Some(path) if path == Path::new("-") => spool(how, &given, &[], input),
        Some(path) => match File::open(path) {
            Ok(mut file) => spool(how, &given, &[], &mut file),
            Err(err) => Err(Answer::refused(74, &format!("open {}: {err}", path.display()))),
        },
        None => spool(how, &given, &[], input),
    };
    match spooled {
        Ok((id, err)) => Answer { out: format!("{id}\n"), err, ..Answer::default() },
        Err(answer) => answer,
    }
}
