//! OpenSMTPD, with TLS and AUTH: another server than Postfix, with words of its own.

use postrider_mailserver::{Config, MailServer, SentMessage};

use crate::fixture::daemon::Daemon;
use crate::fixture::opensmtpd::{NEVER, NOT_NOW, OpenSmtpd, STAGES};
use crate::fixture::{Letter, SOON, World, eventually, scripted};

/// The server behind it, and it.
fn servers() -> (MailServer, OpenSmtpd) {
    let open = Config { smtp_auth_required: false, ..scripted::config() };
    let behind = MailServer::start(open).unwrap();
    let smtpd = OpenSmtpd::start(behind.smtp_addr().port());
    (behind, smtpd)
}

fn text(message: &SentMessage) -> String {
    String::from_utf8_lossy(&message.bytes).into_owned()
}

fn n_arrived(server: &MailServer, subject: &str) -> usize {
    let needle = format!("Subject: {subject}\r\n");
    server.sent().iter().filter(|message| text(message).contains(&needle)).count()
}

fn outbox_shows(daemon: &Daemon<'_>, what: &str, counts: [usize; 2]) {
    eventually(&format!("{what}: {counts:?} queued and failed"), SOON, || {
        let outbox = &daemon.status()["outbox"];
        (["queued", "failed"].map(|key| outbox[key].as_u64().unwrap() as usize) == counts)
            .then_some(())
    });
}

#[test]
fn it_gets_what_is_dropped_over_tls_of_both_kinds_and_only_with_the_password() {
    let (behind, smtpd) = servers();
    let world = World::with_bus();
    for (tls, table) in
        [("starttls", smtpd.smtp_table("work")), ("smtps", smtpd.smtps_table("work"))]
    {
        world.configure(&format!("{}{table}", world.account("work")));
        let ran = world.run(&["check"]);
        assert_eq!(ran.code, 0, "{tls}: {ran:?}\n{}", smtpd.log());
        let daemon = world.daemon();
        for n in 0..10 {
            let to = format!("a{n}@x.org, b{n}@x.org");
            let letter = Letter::new("work@example.org", &to, &format!("{tls} {n}"));
            world.drop_letter(&n.to_string(), &letter.field("Bcc", "hidden@x.org").text());
        }
        for n in 0..10 {
            let subject = format!("{tls} {n}");
            eventually(&format!("{subject} arrives"), SOON, || {
                let needle = format!("Subject: {subject}\r\n");
                let got: Vec<SentMessage> = behind.sent();
                let got = got.iter().filter(|message| text(message).contains(&needle));
                (got.map(|message| message.recipients.len()).sum::<usize>() == 3).then_some(())
            });
        }
        eventually("the outbox is empty", SOON, || {
            world.outbox_files("cur").is_empty().then_some(())
        });
        assert!(world.outbox_files("failed").is_empty());
        daemon.stop();
    }
    assert!(!behind.sent().iter().any(|message| text(message).contains("hidden")));
    assert!(smtpd.log().contains("smtp authentication user=work result=ok"), "{}", smtpd.log());
    assert!(smtpd.log().contains("tls ciphers=TLSv1.3"), "{}", smtpd.log());

    world.set_password("another");
    let ran = world.run(&["check"]);
    assert_eq!(ran.code, 77, "{ran:?}");
    assert!(ran.stdout.contains("535"), "its own words: {ran:?}");
    let stranger = smtpd.smtps_table("work");
    let (ca, other) = (&smtpd.certs.ca, &smtpd.certs.stranger);
    let stranger = stranger.replace(&ca.display().to_string(), &other.display().to_string());
    world.configure(&format!("{}{stranger}", world.account("work")));
    assert_eq!(world.run(&["check"]).code, 76);
}

/// An account for each stage: `s0` … `s5`.
fn accounts(world: &World, table: impl Fn(&str, usize) -> String) -> String {
    let account = |n: usize| {
        let name = format!("s{n}");
        format!("{}{}", world.account(&name), table(&name, n))
    };
    (0..STAGES.len()).map(account).collect()
}

fn drop_one_for_each(world: &World, word: &str) {
    for n in 0..STAGES.len() {
        let from = format!("s{n}@example.org");
        let letter = Letter::new(&from, "a@x.org, b@x.org", &format!("{word} {n}"));
        world.drop_letter(&format!("{word}-{n}"), &letter.text());
    }
}

#[test]
fn its_refusals_for_now_at_any_stage_are_retried_and_each_message_is_sent_once() {
    let (behind, smtpd) = servers();
    let world = World::with_bus();
    world.configure(&accounts(&world, |name, n| smtpd.refusing_table(name, n, false)));
    let daemon = world.daemon();
    drop_one_for_each(&world, "later");
    for (n, stage) in STAGES.iter().enumerate() {
        let listed = eventually(&format!("{stage}: its refusal is shown"), SOON, || {
            let listed = world.ok(&["outbox", "--json"]).json();
            let all = listed.as_array().unwrap().iter();
            let mine = format!("s{n}");
            let one = all.into_iter().find(|one| one["account"] == mine.as_str())?.clone();
            one.to_string().contains(NOT_NOW).then_some(one)
        });
        assert_eq!(listed["phase"], "queued", "{listed}");
    }
    outbox_shows(&daemon, "refused for now", [STAGES.len(), 0]);
    assert!(behind.sent().is_empty());
    world.configure(&accounts(&world, |name, _| smtpd.smtp_table(name)));
    world.ok(&["reload"]);
    world.ok(&["outbox", "retry"]);
    outbox_shows(&daemon, "then", [0, 0]);
    for (n, stage) in STAGES.iter().enumerate() {
        let subject = format!("later {n}");
        eventually(&format!("{stage}: it arrives"), SOON, || {
            (n_arrived(&behind, &subject) > 0).then_some(())
        });
        assert_eq!(n_arrived(&behind, &subject), 1, "{stage}");
    }
    daemon.stop();
}

#[test]
fn its_refusals_for_good_park_a_message_and_those_before_one_do_not() {
    let (behind, smtpd) = servers();
    let world = World::with_bus();
    world.configure(&accounts(&world, |name, n| smtpd.refusing_table(name, n, true)));
    let daemon = world.daemon();
    drop_one_for_each(&world, "never");
    // Connection and greeting are not about a message.
    outbox_shows(&daemon, "refused for good", [2, 4]);
    let screen = world.ok(&["status"]).stdout;
    assert!(screen.contains(NEVER), "its words about the account are shown: {screen}");
    let reasons = eventually("the reports are there", SOON, || {
        let reasons = world.reasons();
        (reasons.matches("Action: failed").count() == 8).then_some(reasons)
    });
    assert!(reasons.contains(NEVER), "{reasons}");
    assert!(behind.sent().is_empty());
    world.configure(&accounts(&world, |name, _| smtpd.smtps_table(name)));
    world.ok(&["reload"]);
    let listed = world.ok(&["outbox", "--json"]).json();
    let ids = listed.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap());
    let args: Vec<&str> = ["outbox", "retry"].into_iter().chain(ids).collect();
    world.ok(&args);
    outbox_shows(&daemon, "then", [0, 0]);
    for (n, stage) in STAGES.iter().enumerate() {
        let subject = format!("never {n}");
        eventually(&format!("{stage}: it arrives"), SOON, || {
            (n_arrived(&behind, &subject) > 0).then_some(())
        });
        assert_eq!(n_arrived(&behind, &subject), 1, "{stage}");
    }
    assert!(world.outbox_files("failed").is_empty());
    daemon.stop();
}
