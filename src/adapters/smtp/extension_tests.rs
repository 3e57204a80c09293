//! What the server offers decides what is said: DSN, SMTPUTF8, PIPELINING.

use super::tests::{Script, bench, endpoint, peer};
use super::*;
use crate::adapters::smtp::tests::Gate;
use crate::model::outbox::{Dsn, Verdict};

const ALL: &str = "250-peer\r\n250-PIPELINING\r\n250-DSN\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n";
const NONE: &str = "250 peer\r\n";

/// The commands of one attempt, and the verdicts in the order of the recipients.
async fn said(offer: &str, recipients: &[&str], dsn: &str) -> (Vec<String>, Vec<Verdict>) {
    let (port, task) = peer(Script::default().with("EHLO", offer)).await;
    let mut bench = bench(endpoint(port), b"From: me@example.com\n\nx\n", recipients);
    bench.job.dsn = Dsn::parse(dsn);
    let outcome = bench.relay.submit(&bench.job, &Gate::default()).await.unwrap();
    let verdicts = bench.job.envelope.recipients.iter().map(|to| {
        let mut mine = outcome.verdicts.iter().filter(|(one, _)| one == to);
        mine.next().map(|(_, verdict)| verdict.clone()).unwrap()
    });
    let verdicts = verdicts.collect();
    drop(bench);
    let heard = task.await.unwrap();
    let wanted = |line: &String| line.starts_with("MAIL") || line.starts_with("RCPT");
    (heard.into_iter().filter(wanted).collect(), verdicts)
}

#[tokio::test]
async fn reports_are_asked_for_where_the_server_can_give_them() {
    let dsn = "notify=failure,delay; ret=hdrs; envid=a+b=c";
    let (heard, _) = said(ALL, &["a+b@x.org"], dsn).await;
    assert_eq!(
        heard,
        [
            "MAIL FROM:<me@example.com> RET=HDRS ENVID=a+2Bb+3Dc",
            "RCPT TO:<a+b@x.org> NOTIFY=FAILURE,DELAY ORCPT=rfc822;a+2Bb@x.org"
        ]
    );
    let (heard, _) = said(NONE, &["a+b@x.org"], dsn).await;
    assert_eq!(heard, ["MAIL FROM:<me@example.com>", "RCPT TO:<a+b@x.org>"]);
}

#[tokio::test]
async fn a_domain_becomes_a_labels_and_a_local_part_cannot_travel_without_smtputf8() {
    let to = ["u@bücher.example", "ü@x.org", "a@x.org"];
    let (heard, _) = said(ALL, &to, "").await;
    assert_eq!(heard[0], "MAIL FROM:<me@example.com> SMTPUTF8");
    assert_eq!(
        heard[1..],
        ["RCPT TO:<u@bücher.example>", "RCPT TO:<ü@x.org>", "RCPT TO:<a@x.org>"]
    );
    let (heard, verdicts) = said(NONE, &to, "").await;
    assert_eq!(
        heard,
        ["MAIL FROM:<me@example.com>", "RCPT TO:<u@xn--bcher-kva.example>", "RCPT TO:<a@x.org>"]
    );
    assert!(matches!(verdicts[0], Verdict::Accepted(_)), "{verdicts:?}");
    assert!(matches!(&verdicts[1], Verdict::Refused(why) if why.text.contains("SMTPUTF8")));
    assert!(matches!(verdicts[2], Verdict::Accepted(_)), "{verdicts:?}");
}
