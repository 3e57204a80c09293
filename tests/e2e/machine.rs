//! What the doctor says of the machine: other syncers, file systems, limits of the kernel. Each is made real, in a
//! namespace of its own where others would feel it.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use postrider_mailserver::{Action, Rule};
use serde_json::Value;

use crate::doctor::{advises, finding, findings, world_with};
use crate::fixture::disk::SshFs;
use crate::fixture::process::{Running, program, tied};
use crate::fixture::world::BINARY;
use crate::fixture::{SOON, World, scripted};

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

#[test]
fn another_syncer_that_runs_or_ran_is_told() {
    let server = scripted::server();
    let world = world_with("\"x\"");
    let config = world.path("mbsyncrc");
    std::fs::create_dir_all(world.mailbox("INBOX")).unwrap();
    let table = format!(
        "IMAPAccount a\nHost 127.0.0.1\nPort {}\nSSLType None\nUser user\nPass x\nAuthMechs LOGIN\n\n\
         IMAPStore far\nAccount a\n\nMaildirStore near\nPath {at}/\nInbox {at}/INBOX\n\n\
         Channel c\nFar :far:\nNear :near:\nCreate Near\nSyncState *\n",
        server.imap_addr().port(),
        at = world.maildir().display()
    );
    std::fs::write(&config, table).unwrap();
    let hangs = server.script(Rule::imap("LOGIN").then(Action::HangBefore));
    let mut mbsync = tied(&program("mbsync", "isync"));
    mbsync.arg("-c").arg(&config).arg("c").stdin(Stdio::null()).stdout(Stdio::null());
    let mut mbsync = Running::start("mbsync", mbsync);
    server.wait_until(SOON, |view| (view.hanging(hangs) > 0).then_some(())).expect("it waits");
    let runs = format!("another syncer: mbsync runs, pid {}", mbsync.pid());
    advises(&finding(&world, &[], &runs), "stop one");
    mbsync.kill();
    let all = findings(&world.run(&["doctor", "--json"]).json());
    assert!(!all.iter().any(|f| f["what"] == runs), "{all:#?}");
    // What it leaves behind in the Maildir.
    let state = std::fs::File::create(world.mailbox("INBOX").join(".mbsyncstate")).unwrap();
    let trace = format!("another syncer: {}", world.mailbox("INBOX/.mbsyncstate").display());
    advises(&finding(&world, &[], &trace), "it ran within a day");
    state.set_modified(SystemTime::now() - Duration::from_secs(3 * 86_400)).unwrap();
    let found = finding(&world, &[], &trace);
    assert!(found["advice"].is_null() && found["what"].as_str().unwrap().ends_with("and old"));
}

#[test]
fn a_clock_that_nobody_keeps_is_told() {
    let world = world_with("\"x\"");
    // What systemd-timesyncd leaves in /run, before and after it heard of the time.
    let setup = "awk '$5 ~ \"/pr-\" { print $5 }' /proc/self/mountinfo | xargs -r umount -l; \
                 mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/timesync; $1; shift; exec \"$@\"";
    let told = |made: &str| {
        let starter =
            ["unshare", "--mount", "--propagation", "private", "sh", "-ec", setup, "sh", made];
        of(&findings_under(&world, &starter), "clock: ").clone()
    };
    let found = told("true");
    assert_eq!(found["what"], "clock: not synchronised since the start of the machine");
    advises(&found, "timedatectl set-ntp true");
    let found = told("touch /run/systemd/timesync/synchronized");
    assert!(found["advice"].is_null(), "{found}");
}
