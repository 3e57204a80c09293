//! What another program wrote down about the messages of a mailbox: mbsync in the file names and in its
//! state, offlineimap in the file names alone. Read only, and only a hint. Floor 3.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::model::ids::{Base, Uid, UidValidity};

/// The UIDs that these messages had on the server, as far as the other program says so. What cannot be
/// read says nothing.
pub(super) fn uids(
    mailbox: &Path,
    states: &[PathBuf],
    validity: UidValidity,
    bases: &[Base],
) -> Vec<(Base, Uid)> {
    let named = bases.iter().filter_map(|base| Some((base, Name::of(&base.0)?)));
    let (theirs, ours): (Vec<_>, Vec<_>) = named.partition(|(_, name)| name.is_offlineimap);
    // offlineimap names a file after the server's UID.
    let mut found: Vec<(Base, Uid)> =
        theirs.into_iter().filter_map(|(b, name)| Some((b.clone(), Uid::new(name.uid)?))).collect();
    if ours.is_empty() {
        return found;
    }
    let near: Vec<u32> = ours.iter().map(|(_, name)| name.uid).collect();
    let Some(pairs) = mbsync_pairs(mailbox, states, validity, &near) else { return found };
    let there = |name: &Name| Uid::new(*pairs.get(&name.uid)?);
    found.extend(ours.iter().filter_map(|(base, name)| Some(((*base).clone(), there(name)?))));
    found
}

/// What `,U=` in a file name says.
struct Name {
    uid: u32,
    is_offlineimap: bool,
}

impl Name {
    fn of(base: &str) -> Option<Self> {
        let (_, rest) = base.rsplit_once(",U=")?;
        let (uid, more) = rest.split_once(',').map_or((rest, ""), |(uid, more)| (uid, more));
        Some(Self { uid: uid.parse().ok()?, is_offlineimap: more.starts_with("FMD5=") })
    }
}

/// Which UID on the server goes with which one that mbsync gave to a file. Its state is beside the
/// messages (`SyncState *`), or in a directory for all of them, where the UIDVALIDITYs of both sides tell
/// which file is the one.
fn mbsync_pairs(
    mailbox: &Path,
    states: &[PathBuf],
    validity: UidValidity,
    uids: &[u32],
) -> Option<BTreeMap<u32, u32>> {
    let here = fs::read_to_string(mailbox.join(".uidvalidity")).ok()?;
    let here: u32 = here.lines().next()?.trim().parse().ok()?;
    let elsewhere = states.iter().flat_map(|dir| fs::read_dir(dir).into_iter().flatten());
    let elsewhere = elsewhere.filter_map(|entry| Some(entry.ok()?.path()));
    let files = [mailbox.join(".mbsyncstate")].into_iter().chain(elsewhere);
    let pairs = files.filter(|file| file.is_file()).filter_map(|file| {
        let size = fs::metadata(&file).ok()?.len();
        let text =
            if size <= STATE_BYTES_MAX { fs::read_to_string(&file).ok()? } else { return None };
        read_state(&text, here, validity.get())
    });
    // Mailboxes that were made within a second have the same UIDVALIDITY: the state that knows most of these
    // files, and little else, is the one.
    let known =
        |pairs: &BTreeMap<u32, u32>| uids.iter().filter(|uid| pairs.contains_key(uid)).count();
    pairs.max_by_key(|pairs| (known(pairs), std::cmp::Reverse(pairs.len())))
}

/// The pairs of a state (isync 1.2 to 1.5: `sync_state.c`), if it is about these two sides.
fn read_state(text: &str, here: u32, there: u32) -> Option<BTreeMap<u32, u32>> {
    let value = |line: &str| line.split_ascii_whitespace().nth(1)?.parse::<u32>().ok();
    let (mut far, mut near) = (None, None);
    let mut lines = text.lines();
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        match line.split_ascii_whitespace().next() {
            Some("FarUidValidity" | "MasterUidValidity") => far = value(line),
            Some("NearUidValidity" | "SlaveUidValidity") => near = value(line),
            _ => {}
        }
    }
    let is_far = match (far, near) {
        (Some(far), Some(near)) if (far, near) == (there, here) => true,
        (Some(far), Some(near)) if (near, far) == (there, here) => false,
        _ => return None,
    };
    let pair = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (far, near) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let (there, here): (u32, u32) = if is_far { (far, near) } else { (near, far) };
        (there > 0 && here > 0).then_some((here, there))
    };
    Some(lines.filter_map(pair).collect())
}

/// A line of a state has some 20 bytes: so many are for millions of messages.
const STATE_BYTES_MAX: u64 = 256 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = "FarUidValidity 7\nNearUidValidity 9\nMaxPulledUid 12\nMaxPushedUid 3\n\n\
        10 1 S\n11 2 \n12 0 F\n0 3 \n";

    #[test]
    fn a_state_pairs_both_sides_whichever_is_the_far_one() {
        assert_eq!(read_state(STATE, 9, 7), Some(BTreeMap::from([(1, 10), (2, 11)])));
        assert_eq!(read_state(STATE, 7, 9), Some(BTreeMap::from([(10, 1), (11, 2)])));
        assert_eq!(read_state(STATE, 9, 8), None, "another UIDVALIDITY");
        let old = STATE.replace("Far", "Master").replace("Near", "Slave");
        assert_eq!(read_state(&old, 9, 7).unwrap().len(), 2);
        assert_eq!(read_state("", 9, 7), None);
    }

    /// Mailboxes that are made within a second have the same UIDVALIDITY.
    #[test]
    fn of_two_states_the_one_that_knows_these_files_counts() {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(dir.path().join(".uidvalidity"), "9\n3\n").unwrap();
        let head = "FarUidValidity 7\nNearUidValidity 9\n\n";
        let state = |name: &str, pairs: &str| {
            fs::write(elsewhere.path().join(name), format!("{head}{pairs}")).unwrap();
        };
        state("a", "31 1 \n");
        state("b", "51 1 \n52 2 \n");
        state("c", "71 1 \n72 2 \n73 3 \n");
        let (states, validity) = ([elsewhere.path().to_owned()], UidValidity::new(7).unwrap());
        let of = |names: &[&str]| {
            let bases: Vec<Base> = names.iter().map(|name| Base((*name).to_owned())).collect();
            let found = uids(dir.path(), &states, validity, &bases);
            found.iter().map(|(_, uid)| uid.get()).collect::<Vec<_>>()
        };
        assert_eq!(of(&["x,U=1"]), [31]);
        assert_eq!(of(&["x,U=1", "y,U=2"]), [51, 52]);
        assert_eq!(of(&["x,U=1", "y,U=2", "z,U=3"]), [71, 72, 73]);
    }

    #[test]
    fn file_names_of_both_programs_are_told_apart() {
        let validity = UidValidity::new(7).unwrap();
        let base = |name: &str| Base(name.to_owned());
        let theirs = base("1700000000_0.17.host,U=11,FMD5=7e33429f656f1e6e9d79b29c3f82c57e");
        let bases = [theirs.clone(), base("1700000000.R9.host,U=1"), base("x,U=y"), base("plain")];
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let states = [elsewhere.path().to_owned()];
        let found = |at: &[PathBuf]| uids(dir.path(), at, validity, &bases);
        assert_eq!(found(&states), [(theirs.clone(), Uid::new(11).unwrap())]);
        fs::write(dir.path().join(".uidvalidity"), "9\n3\n").unwrap();
        fs::write(elsewhere.path().join(":far:acc_:near:acc_INBOX"), STATE).unwrap();
        let both = [(theirs, Uid::new(11).unwrap()), (bases[1].clone(), Uid::new(10).unwrap())];
        assert_eq!(found(&states), both);
        fs::write(dir.path().join(".mbsyncstate"), STATE).unwrap();
        assert_eq!(found(&[]), both);
    }
}
