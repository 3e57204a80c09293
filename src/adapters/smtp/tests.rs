use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::model::account::{Mechanism, SecretSource, Tls};
use crate::model::outbox::{Address, Dsn, Envelope, Verdict};

/// How the peer differs from a server that takes everything.
#[derive(Clone, Default)]
pub(super) struct Script {
    /// Replies by the first word of the command or by the whole of it; `greeting` and `.` as well.
    replies: Vec<(&'static str, String)>,
    /// It closes after so many bytes of its own.
    cut: Option<usize>,
    /// It writes one byte at a time.
    dribble: bool,
}

impl Script {
    pub(super) fn with(mut self, command: &'static str, reply: &str) -> Self {
        self.replies.push((command, reply.to_owned()));
        self
    }

    pub(super) fn reply(&self, line: &str) -> String {
        let word = line.split([' ', ':']).next().unwrap_or("");
        let known = self.replies.iter().find(|(on, _)| *on == line);
        if let Some((_, reply)) = known.or_else(|| self.replies.iter().find(|(on, _)| *on == word))
        {
            return reply.clone();
        }
        match word {
            "greeting" => "220 peer ESMTP\r\n",
            "EHLO" => "250-peer\r\n250-SIZE 1000000\r\n250-8bitmime\r\n250 AUTH LOGIN PLAIN\r\n",
            "AUTH" => "235 2.7.0 in\r\n",
            "DATA" => "354 go\r\n",
            "QUIT" => "221 bye\r\n",
            _ => "250 2.0.0 ok\r\n",
        }
        .to_owned()
    }
}

/// Serves one connection and returns what the client said, the body as one entry.
pub(super) async fn peer(script: Script) -> (u16, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let (read, mut write) = tcp.into_split();
        let mut read = BufReader::new(read);
        let (mut heard, mut budget) = (Vec::new(), script.cut.unwrap_or(usize::MAX));
        let mut say = script.reply("greeting");
        loop {
            let part = &say.as_bytes()[..say.len().min(budget)];
            budget -= part.len();
            let step = if script.dribble { 1 } else { part.len().max(1) };
            for piece in part.chunks(step) {
                if write.write_all(piece).await.is_err() {
                    return heard;
                }
                tokio::task::yield_now().await;
            }
            let mut line = Vec::new();
            if budget == 0 || read.read_until(b'\n', &mut line).await.unwrap_or(0) == 0 {
                return heard;
            }
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            say = script.reply(&text);
            heard.push(text.clone());
            if text == "DATA" && say.starts_with("354") {
                write.write_all(&say.as_bytes()[..say.len().min(budget)]).await.unwrap();
                budget = budget.saturating_sub(say.len());
                if budget == 0 {
                    return heard;
                }
                let mut body = Vec::new();
                while !body.ends_with(b"\r\n.\r\n") {
                    if read.read_until(b'\n', &mut body).await.unwrap_or(0) == 0 {
                        heard.push(String::from_utf8_lossy(&body).into_owned());
                        return heard;
                    }
                }
                heard.push(String::from_utf8_lossy(&body).into_owned());
                say = script.reply(".");
            }
        }
    });
    (port, task)
}

#[derive(Default)]
pub(super) struct Gate {
    pub(super) opened: AtomicBool,
    pub(super) jammed: bool,
}

impl DotGate for Gate {
    async fn open(&self, _: &[(Address, Verdict)]) -> Result<(), Failure> {
        if self.jammed {
            return Err(Failure::new(Scope::Daemon, Remedy::Later, Kind::LocalIo, "commit"));
        }
        self.opened.store(true, Ordering::SeqCst);
        Ok(())
    }
}

pub(super) fn endpoint(port: u16) -> Endpoint {
    Endpoint::bare("127.0.0.1".to_owned(), port, Tls::None, Duration::from_secs(10))
}

pub(super) fn address(text: &str) -> Address {
    Address::new(text).unwrap()
}

pub(super) struct Bench {
    _dir: tempfile::TempDir,
    pub(super) relay: SmtpRelay,
    pub(super) job: Job,
}

pub(super) fn bench(endpoint: Endpoint, body: &[u8], recipients: &[&str]) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("message");
    std::fs::write(&path, body).unwrap();
    let account = AccountName("work".to_owned());
    let envelope = Envelope {
        sender: Some(address("me@example.com")),
        recipients: recipients.iter().map(|to| address(to)).collect(),
    };
    let job = Job {
        account: account.clone(),
        path,
        skip: Vec::new(),
        envelope,
        dsn: Dsn::default(),
        utf8_header: false,
    };
    Bench { _dir: dir, relay: SmtpRelay::new(BTreeMap::from([(account, endpoint)])), job }
}

const BODY: &[u8] = b"Subject: x\n\n.dot\nlast";

async fn attempt(script: Script) -> (Result<Outcome, Broken>, bool, Vec<String>) {
    let (port, task) = peer(script).await;
    let bench = bench(endpoint(port), BODY, &["a@x.org", "b@x.org", "c@x.org"]);
    let gate = Gate::default();
    let outcome = bench.relay.submit(&bench.job, &gate).await;
    drop(bench);
    (outcome, gate.opened.load(Ordering::SeqCst), task.await.unwrap())
}

fn marks(outcome: &Outcome) -> String {
    let mark = |verdict: &Verdict| match verdict {
        Verdict::Accepted(_) => 'A',
        Verdict::Deferred(_) => 'D',
        Verdict::Refused(_) => 'R',
    };
    outcome.verdicts.iter().map(|(_, verdict)| mark(verdict)).collect()
}

#[tokio::test]
async fn a_message_is_handed_over_stuffed_and_with_its_size() {
    let (outcome, opened, heard) = attempt(Script::default()).await;
    assert_eq!(marks(&outcome.unwrap()), "AAA");
    assert!(opened);
    assert_eq!(heard[0], "EHLO [127.0.0.1]");
    assert_eq!(heard[1], "MAIL FROM:<me@example.com> SIZE=26");
    assert_eq!(heard[2..5], ["RCPT TO:<a@x.org>", "RCPT TO:<b@x.org>", "RCPT TO:<c@x.org>"]);
    assert_eq!(heard[6], "Subject: x\r\n\r\n..dot\r\nlast\r\n.\r\n");
}

#[tokio::test]
async fn each_recipient_has_its_own_verdict_with_and_without_pipelining() {
    for ehlo in ["250 peer\r\n", "250-peer\r\n250 PIPELINING\r\n"] {
        let script = Script { dribble: true, ..Script::default() }
            .with("EHLO", ehlo)
            .with("RCPT TO:<b@x.org>", "550-5.1.1 no\r\n550 5.1.1 such user\r\n")
            .with("RCPT TO:<c@x.org>", "450 later\r\n");
        let (outcome, _, heard) = attempt(script).await;
        let outcome = outcome.unwrap();
        assert_eq!(marks(&outcome), "ARD");
        assert!(heard.contains(&"DATA".to_owned()));
        let Verdict::Refused(reply) = &outcome.verdicts[1].1 else { panic!() };
        assert_eq!(reply.to_string(), "550 5.1.1 no / such user");
    }
}

#[tokio::test]
async fn refusals_of_the_message_are_verdicts_at_every_stage() {
    for (stage, reply, marked) in [
        ("MAIL", "550 no", "RRR"),
        ("MAIL", "451 later", "DDD"),
        ("MAIL", "552 5.3.4 too big", "RRR"),
        ("RCPT", "550 no", "RRR"),
        ("RCPT", "454 4.7.1 not now", "DDD"),
        ("DATA", "554 no", "RRR"),
        ("DATA", "451 later", "DDD"),
        (".", "554 5.7.1 spam", "RRR"),
        (".", "452 full", "DDD"),
        ("QUIT", "421 no", "AAA"),
    ] {
        for ehlo in ["250 peer\r\n", "250-peer\r\n250 PIPELINING\r\n"] {
            let script = Script::default().with("EHLO", ehlo).with(stage, &format!("{reply}\r\n"));
            let (outcome, opened, heard) = attempt(script).await;
            assert_eq!(marks(&outcome.unwrap()), marked, "{stage} {reply}");
            assert_eq!(opened, matches!(stage, "." | "QUIT"), "{stage} {reply}");
            if stage == "RCPT" {
                assert!(!heard.contains(&"DATA".to_owned()));
            }
        }
    }
}

#[tokio::test]
async fn trouble_of_the_account_is_never_a_verdict() {
    for (stage, reply, kind) in [
        ("greeting", "554 go away", Kind::Refused),
        ("greeting", "421 busy", Kind::Throttled),
        ("greeting", "999 odd", Kind::Protocol),
        ("greeting", "hello", Kind::Protocol),
        ("EHLO", "421 busy", Kind::Throttled),
        ("MAIL", "530 5.7.0 log in", Kind::AuthFailed),
        ("MAIL", "454 4.7.0 later", Kind::Throttled),
        ("RCPT TO:<b@x.org>", "421 busy", Kind::Throttled),
        ("DATA", "421 busy", Kind::Throttled),
        ("DATA", "250 what", Kind::Protocol),
        (".", "421 busy", Kind::Throttled),
        ("MAIL", "550 5.4.5 Daily user sending limit exceeded", Kind::Throttled),
        ("RCPT TO:<b@x.org>", "450 4.7.1 Error: too much mail from you", Kind::Throttled),
        (".", "451 4.7.1 Rate limit exceeded, try again in 300 seconds", Kind::Throttled),
    ] {
        for ehlo in ["250 peer\r\n", "250-peer\r\n250 PIPELINING\r\n"] {
            let script = Script::default().with(stage, &format!("{reply}\r\n")).with("EHLO", ehlo);
            let broken = attempt(script).await.0.unwrap_err();
            assert_eq!(broken.failure.kind, kind, "{stage} {reply}: {}", broken.failure);
            assert_eq!(broken.failure.scope, Scope::Account);
            assert!(!broken.after_dot, "{stage} {reply}");
        }
    }
}

#[tokio::test]
async fn a_server_without_ehlo_is_greeted_with_helo() {
    let (outcome, _, heard) = attempt(Script::default().with("EHLO", "502 what\r\n")).await;
    assert_eq!(marks(&outcome.unwrap()), "AAA");
    assert_eq!(heard[1..3], ["HELO [127.0.0.1]", "MAIL FROM:<me@example.com>"]);
}

#[tokio::test]
async fn a_connection_cut_at_each_byte_is_uncertain_only_behind_the_dot() {
    let whole = [
        "220 peer ESMTP\r\n",
        "250-peer\r\n250-SIZE 1000000\r\n250-8bitmime\r\n250 AUTH LOGIN PLAIN\r\n",
        &"250 2.0.0 ok\r\n".repeat(4),
        "354 go\r\n",
    ];
    let before: usize = whole.iter().map(|part| part.len()).sum();
    let all = before + "250 2.0.0 ok\r\n".len();
    for cut in 0..all {
        let script = Script { cut: Some(cut), ..Script::default() };
        let (outcome, opened, _) = attempt(script).await;
        let broken = outcome.unwrap_err();
        // The kernel may report a cut right behind 354 while the body is written, or only afterwards.
        assert!(broken.after_dot == opened && opened >= (cut > before), "cut at {cut}");
        assert!(opened <= (cut >= before), "cut at {cut}");
        assert_eq!(broken.failure.scope, Scope::Account);
    }
}

#[tokio::test]
async fn a_gate_that_stays_shut_keeps_the_dot_here() {
    let (port, task) = peer(Script::default()).await;
    let bench = bench(endpoint(port), BODY, &["a@x.org"]);
    let gate = Gate { jammed: true, ..Gate::default() };
    let broken = bench.relay.submit(&bench.job, &gate).await.unwrap_err();
    assert!(!broken.after_dot);
    drop(bench);
    assert!(!task.await.unwrap().last().unwrap().ends_with("\r\n.\r\n"));
}

#[tokio::test]
async fn starttls_is_needed_and_nothing_may_come_behind_its_answer() {
    let offered = "250-peer\r\n250 STARTTLS\r\n";
    for (name, script) in [
        ("TlsUntrusted", Script::default()),
        (
            "TlsUntrusted",
            Script::default()
                .with("EHLO", offered)
                .with("STARTTLS", "220 go\r\n250-peer\r\n250 AUTH PLAIN\r\n"),
        ),
        // A word for now is no matter of certificates.
        ("Busy", Script::default().with("EHLO", offered).with("STARTTLS", "454 4.7.0 no TLS\r\n")),
    ] {
        let (port, task) = peer(script).await;
        let mut at = endpoint(port);
        at.tls = Tls::StartTls;
        at.user = "me".to_owned();
        at.password = Some(SecretSource::Plain("hunter2".to_owned().into()));
        let bench = bench(at, BODY, &["a@x.org"]);
        let broken = bench.relay.submit(&bench.job, &Gate::default()).await.unwrap_err();
        assert_eq!(broken.failure.kind.error_name(), name, "{}", broken.failure);
        drop(bench);
        let heard = task.await.unwrap();
        assert!(!heard.iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL")));
    }
}

#[tokio::test]
async fn logins_follow_the_preference_and_refusals_name_the_keys() {
    for (auth, replies, expected) in [
        (vec![], vec![], Ok("AUTH PLAIN AG1lAGh1bnRlcjI=")),
        (
            vec![Mechanism::Login],
            vec![
                ("AUTH", "334 VXNlcm5hbWU6"),
                ("bWU=", "334 UGFzc3dvcmQ6"),
                ("aHVudGVyMg==", "235 in"),
            ],
            Ok("aHVudGVyMg=="),
        ),
        (vec![], vec![("AUTH", "535 5.7.8 wrong")], Err(Kind::AuthFailed)),
        (vec![], vec![("AUTH", "454 4.7.0 later")], Err(Kind::Throttled)),
        (vec![], vec![("AUTH", "334 "), ("*", "501 cancelled")], Err(Kind::AuthFailed)),
        (vec![], vec![("EHLO", "250 peer")], Err(Kind::NotSupported)),
    ] {
        let mut script = Script::default();
        for (on, reply) in replies {
            script = script.with(on, &format!("{reply}\r\n"));
        }
        let (port, task) = peer(script).await;
        let mut at = endpoint(port);
        (at.user, at.auth) = ("me".to_owned(), auth);
        at.password = Some(SecretSource::Plain("hunter2".to_owned().into()));
        let bench = bench(at, BODY, &["a@x.org"]);
        let outcome = bench.relay.submit(&bench.job, &Gate::default()).await;
        drop(bench);
        let heard = task.await.unwrap();
        match expected {
            Ok(line) => {
                outcome.unwrap();
                assert!(heard.contains(&line.to_owned()), "{heard:?}");
            }
            Err(kind) => {
                let failure = outcome.unwrap_err().failure;
                assert_eq!(failure.kind, kind, "{failure}");
                assert!(!format!("{failure:?}").contains("hunter2"));
            }
        }
    }
}

#[tokio::test]
async fn a_reply_without_end_is_not_read_to_its_end() {
    let endless = format!("220-{}\r\n", "x".repeat(70)).repeat(100_000);
    let broken = attempt(Script::default().with("greeting", &endless)).await.0.unwrap_err();
    assert_eq!(broken.failure.kind, Kind::Protocol, "{}", broken.failure);
}

#[tokio::test]
async fn what_the_server_cannot_take_is_known_before_it_is_asked() {
    let recipient = &["ü@x.org"][..];
    for (ehlo, body, to, kind) in [
        ("250-p\r\n250 SIZE 10\r\n", BODY, &["a@x.org"][..], Kind::TooBig),
        ("250-p\r\n250 SIZE 0\r\n", "\nä".as_bytes(), &["a@x.org"][..], Kind::NotSupported),
        ("250-p\r\n250 8BITMIME\r\n", BODY, recipient, Kind::NotSupported),
    ] {
        let (port, task) = peer(Script::default().with("EHLO", ehlo)).await;
        let bench = bench(endpoint(port), body, to);
        let failure = bench.relay.submit(&bench.job, &Gate::default()).await.unwrap_err().failure;
        assert_eq!((failure.kind, failure.scope), (kind, Scope::Message), "{failure}");
        drop(bench);
        assert!(!task.await.unwrap().iter().any(|line| line.starts_with("MAIL")));
    }
}

#[tokio::test]
async fn a_batch_goes_over_one_connection() {
    let (port, task) = peer(Script::default()).await;
    let bench = bench(endpoint(port), BODY, &["a@x.org"]);
    for _ in 0..3 {
        bench.relay.submit(&bench.job, &Gate::default()).await.unwrap();
    }
    drop(bench);
    let heard = task.await.unwrap();
    let n = |word: &str| heard.iter().filter(|line| line.starts_with(word)).count();
    assert_eq!((n("EHLO"), n("RSET"), n("MAIL")), (1, 2, 3));
}
