//! Letters of keywords mean something only in their own mailbox: what a mail reader moved into another
//! one carries those of the old. Floor 3.

use std::collections::BTreeSet;
use std::io;

use super::attest::Trail;
use super::name::Naming;
use super::{MaildirStore, classify, deliver};
use crate::model::failure::Failure;
use crate::model::flags::Flags;
use crate::model::ids::{Base, MailboxName};
use crate::model::view::Sub;
use crate::ports::local::Seen;

/// Gives files that came from another mailbox the letters of this one; answers those that were renamed.
pub(super) fn translate(
    store: &MaildirStore,
    (from, to): (&MailboxName, &MailboxName),
    files: &[(Seen, Flags)],
) -> Result<Vec<Base>, Failure> {
    let there = store.naming(from)?;
    let here = store.naming(to)?;
    let foreign: Vec<(&Seen, Flags)> = files
        .iter()
        .filter_map(|(seen, known)| Some((seen, meant(&seen.1.info, known, &there, &here)?)))
        .collect();
    if foreign.is_empty() {
        return Ok(Vec::new());
    }
    let naming = store.naming_for(to, foreign.iter().map(|(_, flags)| flags))?;
    let (mut done, mut trail) = (Vec::new(), Trail::default());
    for (seen, flags) in foreign {
        let (base, at) = seen;
        // Letters that have no name there are kept; those that have one are replaced.
        let bare = Flags::from_parts(flags.bits(), []);
        let info = naming.info_with(&there.info_with(&at.info, &bare), &flags);
        let target = store.sub(to, at.sub).join(format!("{base}{info}"));
        let source = store.file(to, seen);
        if source == target {
            continue;
        }
        match std::fs::rename(&source, &target) {
            Ok(()) => {
                trail.went(&source, &target);
                done.push(base.clone());
            }
            // The mail reader was faster: the next look sees what it did.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(classify("change flags of message", &source, &e)),
        }
    }
    for sub in [Sub::New, Sub::Cur] {
        deliver::sync_dir(&store.sub(to, sub))?;
    }
    store.attests.did(&trail);
    Ok(done)
}

/// The flags that a file means whose letters are those of the mailbox `there`; nothing if they are those
/// of `here` already, as after a try that was cut short: whichever reading is nearer to the `known`
/// flags is right. A program that drops letters when it moves does not take keywords away.
fn meant(info: &str, known: &Flags, there: &Naming, here: &Naming) -> Option<Flags> {
    let (mut flags, now) = (there.flags_of(info), here.flags_of(info));
    let named = there.keywords.all();
    if flags.keywords.is_empty() && now.keywords.is_empty() {
        flags.keywords.clone_from(&known.keywords);
    } else {
        let differs = |read: &BTreeSet<String>| read.symmetric_difference(&known.keywords).count();
        if differs(&now.keywords) < differs(&flags.keywords) {
            return None;
        }
        flags.keywords.extend(known.keywords.iter().filter(|k| !named.contains(*k)).cloned());
    }
    (flags.keywords != now.keywords).then_some(flags)
}

#[cfg(test)]
mod tests {
    use super::super::keywords::Keywords;
    use super::*;

    fn naming(names: &[&str]) -> Naming {
        let dir = tempfile::tempdir().unwrap();
        let mut keywords = Keywords::default();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        keywords.ensure(dir.path(), names.iter()).unwrap();
        Naming { separator: ':', keywords }
    }

    fn keywords(names: &[&str]) -> Flags {
        Flags::from_parts(0, names.iter().map(|&name| name.to_owned()))
    }

    #[test]
    fn letters_are_read_as_the_mailbox_they_come_from_names_them_and_only_once() {
        let (there, here) = (naming(&["later", "work"]), naming(&["zbar", "zfoo", "later"]));
        let known = keywords(&["later", "work"]);
        let read = |info: &str, known: &Flags| {
            meant(info, known, &there, &here)
                .map(|flags| flags.keywords.into_iter().collect::<Vec<_>>())
        };
        assert_eq!(read(":2,Sab", &known).unwrap(), ["later", "work"]);
        // One was taken off meanwhile.
        assert_eq!(read(":2,Sb", &known).unwrap(), ["work"]);
        // A program that knows no such letters dropped them.
        assert_eq!(read(":2,S", &known).unwrap(), ["later", "work"]);
        // Translated already.
        let after = naming(&["zbar", "zfoo", "later", "work"]);
        assert_eq!(meant(":2,Scd", &known, &there, &after), None);
        assert_eq!(read(":2,S", &keywords(&[])), None);
        // What has no letter there is kept.
        let known = keywords(&["later", "k27"]);
        assert_eq!(read(":2,Sa", &known).unwrap(), ["k27", "later"]);
    }
}
