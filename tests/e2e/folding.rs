//! A file system that takes `Foo` and `foo` for one name, and forbids the colon: exFAT.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::fixture::disk::ExFat;
use crate::fixture::maildir::{containing, count};
use crate::fixture::{World, mail, shared};

/// Where a mailbox is, as the status says.
fn directory(world: &World, mailbox: &str) -> PathBuf {
    let list = world.ok(&["mailboxes", "--json"]).json();
    let found = list["accounts"][0]["mailboxes"].as_array().unwrap().clone();
    let one = found.iter().find(|m| m["name"] == mailbox).unwrap_or_else(|| panic!("{list}"));
    PathBuf::from(one["path"].as_str().unwrap())
}

#[test]
fn s092_mailboxes_that_differ_in_case_only_have_directories_of_their_own() {
    let dovecot = shared::dovecot();
    let world = World::new();
    let _disk = ExFat::over(world.maildir());
    let imap_table = dovecot.imap_table("work", "folding");
    let account = world.account("work");
    world.configure(&format!("{account}info_separator = \";\"\n{imap_table}"));
    let mut imap = dovecot.client("folding");
    let names = ["Foo", "foo", "fOO", "Foo/Sub", "foo/sub"];
    for (n, name) in (0..).zip(names) {
        imap.create(name);
        imap.append(name, "\\Seen", 1_500_000_000, &mail::numbered(n));
    }
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    crate::transfer::assert_all_zero(&world.sync());
    let places: BTreeSet<PathBuf> = names.iter().map(|name| directory(&world, name)).collect();
    assert_eq!(places.len(), names.len(), "{places:?}");
    for (n, name) in (0..).zip(names) {
        let place = directory(&world, name);
        assert_eq!(count(&place), 1, "{}", place.display());
        let entry = containing(&place, &format!("This is number {n}.")).remove(0);
        let flagged = entry.path.to_str().unwrap().replace(";2,S", ";2,FS");
        std::fs::rename(&entry.path, &flagged).unwrap();
    }
    world.sync();
    crate::transfer::assert_all_zero(&world.sync());
    for name in names {
        let there = imap.messages(name);
        assert!(there.len() == 1 && there[0].has("\\Flagged"), "{name}: {there:?}");
    }
    // The one that came first goes: the others keep their directories.
    imap.rename("Foo", "Bar");
    world.sync();
    crate::transfer::assert_all_zero(&world.sync());
    assert_eq!(count(&directory(&world, "foo")), 1);
    assert_eq!(count(&directory(&world, "Bar")), 1);
    assert!(daemon.stop().success());
    assert_eq!(world.run(&["verify", "work", "--bytes"]).code, 0);
}
