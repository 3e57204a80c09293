//! What the doctor says of the machine: other syncers, file systems, limits of the kernel. Each is made real, in a
//! namespace of its own where others would feel it.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::doctor::{advises, finding, findings, world_with};
use crate::fixture::World;
use crate::fixture::disk::SshFs;
use crate::fixture::process::program;
use crate::fixture::world::BINARY;

/// What the doctor finds who is started by another program.
fn findings_under(world: &World, starter: &[&str]) -> Vec<Value> {
    let mut words = starter.iter().copied().chain([BINARY, "doctor", "--json"]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    world.surround(&mut command);
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    findings(&serde_json::from_str(&said).unwrap_or_else(|err| panic!("{err}: {done:?}")))
}

fn of<'a>(all: &'a [Value], begin: &str) -> &'a Value {
    let found = all.iter().find(|f| f["what"].as_str().unwrap().starts_with(begin));
    found.unwrap_or_else(|| panic!("no {begin:?}: {all:#?}"))
}

#[test]
fn a_crontab_that_starts_another_syncer_is_told() {
    program("crontab", "cron");
    let world = world_with("\"x\"");
    let tables = world.path("crontabs");
    std::fs::create_dir(&tables).unwrap();
    let place = tables.display().to_string();
    // The crontabs of the machine stay as they are.
    let setup = "mount --bind \"$1\" /var/spool/cron/crontabs; shift; exec \"$@\"";
    let starter =
        ["unshare", "--mount", "--propagation", "private", "sh", "-ec", setup, "sh", &place];
    let told = |table: &str| {
        std::fs::write(tables.join("root"), table).unwrap();
        std::fs::set_permissions(tables.join("root"), PermissionsExt::from_mode(0o600)).unwrap();
        findings_under(&world, &starter)
    };
    let all = told("# */5 * * * * mbsync -a\n0 4 * * * /usr/bin/backup mbsync-notes\n");
    assert!(!all.iter().any(|f| f["what"].as_str().unwrap().contains("crontab")), "{all:#?}");
    let all = told("MAILTO=\"\"\n*/5 * * * * cd; /usr/bin/offlineimap -o\n");
    let found = of(&all, "another syncer: crontab starts offlineimap");
    advises(found, "undo each other's work");
    assert_eq!(found["ok"], true, "it is advice");
}

#[test]
fn a_maildir_on_another_machine_is_told() {
    let world = world_with("\"x\"");
    let disk = SshFs::over(&world.path("secret"), world.maildir());
    let found = finding(&world, &[], "file system of ");
    assert!(found["what"].as_str().unwrap().ends_with(": fuse.sshfs"), "{found}");
    advises(&found, "only one machine may run postrider on it");
    drop(disk);
    assert!(finding(&world, &[], "file system of ")["advice"].is_null());
}

#[test]
fn limits_of_the_kernel_that_are_too_low_are_told_with_the_setting_that_raises_them() {
    let world = world_with("\"x\"");
    for name in ["INBOX", "Sent", "Archive/2024"] {
        std::fs::create_dir_all(world.mailbox(name).join("cur")).unwrap();
    }
    let all = findings(&world.run(&["doctor", "--json"]).json());
    assert!(of(&all, "inotify: 6 of ")["advice"].is_null(), "{all:#?}");
    // In a user namespace of its own they are lower, and nobody else feels them.
    let setup = "echo 5 > /proc/sys/user/max_inotify_watches; \
                 echo 7 > /proc/sys/user/max_inotify_instances; exec \"$@\"";
    let starter = ["unshare", "--user", "--map-root-user", "sh", "-ec", setup, "sh"];
    let all = findings_under(&world, &starter);
    advises(of(&all, "inotify: 6 of 5 watches needed"), "sysctl user.max_inotify_watches=524288");
    advises(of(&all, "inotify: 7 instances"), "sysctl user.max_inotify_instances=512");
}
