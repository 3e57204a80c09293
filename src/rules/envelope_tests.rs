use super::*;
use crate::model::account::OnUncertain;
use crate::model::ids::AccountName;
use crate::rules::senders::{Sending, account_for};
use proptest::prelude::*;

fn envelope(head: &str) -> String {
    let header = Header::parse(head.as_bytes());
    match header.envelope(None, &header.wishes()) {
        Ok(made) => {
            let sender = made.sender.map(|a| a.as_str().to_owned()).unwrap_or_default();
            let to: Vec<&str> = made.recipients.iter().map(Address::as_str).collect();
            format!("{sender} -> {}", to.join(" "))
        }
        Err(why) => format!("{why:?}"),
    }
}

fn check(head: &str, expected: &str) {
    assert_eq!(envelope(head), expected, "{head:?}");
}

#[test]
fn sender_goes_before_from_and_the_first_resent_block_before_both() {
    check("From: a@x\nTo: b@x, B@X\nCc: b@X\nBcc: c@x\n\n", "a@x -> b@x B@X c@x");
    check("From: a@x, z@x\nSender: s@x\nTo: b@x\n\n", "s@x -> b@x");
    check(
        "Resent-From: r@x\nResent-To: t@x\nResent-From: old@x\nResent-To: o@x\nFrom: a@x\nTo: b@x\n\n",
        "r@x -> t@x",
    );
    check("From: a@x\nTo: b@x,\n c@x\n\nCc: body@x\n", "a@x -> b@x c@x");
    check("From: a@x\rBcc: b@x\r\rTo: body@x", "a@x -> b@x");
    check("To: b@x\n\n", "NoSender");
    check("From: a@x\n\n", "NoRecipients");
    check("From: a@x\nTo: root\n\n", "BadAddress(\"root\")");
    check("From: a@x\nX-Postrider-Envelope-From: <v@x>\nTo: b@x\n\n", "v@x -> b@x");
}

#[test]
fn arguments_override_or_add() {
    let header = Header::parse(b"From: a@x\nTo: b@x\n\n");
    let given = |from_header| Submitted {
        sender: Some(None),
        recipients: vec![Address::new("c@x").unwrap()],
        from_header,
    };
    let made = |args: &Submitted| header.envelope(Some(args), &Wishes::default()).unwrap();
    assert_eq!(made(&given(false)).recipients.len(), 1);
    assert_eq!(made(&given(true)).recipients.len(), 2);
    assert_eq!(made(&given(true)).sender, None);
}

fn without(text: &str, audience: Audience) -> String {
    let ranges = Header::parse(text.as_bytes()).stripped(audience);
    let kept = text
        .bytes()
        .enumerate()
        .filter(|(at, _)| !ranges.iter().any(|range| range.contains(&u64::try_from(*at).unwrap())));
    String::from_utf8(kept.map(|(_, byte)| byte).collect()).unwrap()
}

#[test]
fn bcc_and_leftovers_stay_here_and_nothing_else_does() {
    let text = "From me Mon\nBCC : x@y,\n\tz@y\nSubject: s\nX-Postrider-Hold: no\nStatus: RO\nbcc:\n\nBcc: body\n";
    assert_eq!(without(text, Audience::Recipients), "Subject: s\n\nBcc: body\n");
    assert_eq!(without(text, Audience::Sent), "BCC : x@y,\n\tz@y\nSubject: s\nbcc:\n\nBcc: body\n");
    assert_eq!(without("A: b\rBcc: x\rC: d\r\rx", Audience::Recipients), "A: b\rC: d\r\rx");
    assert_eq!(without("A: b\njunk\nBcc: x\n\n", Audience::Recipients), "A: b\njunk\n\n");
}

#[test]
fn date_and_message_id_are_added_only_when_missing() {
    let now = 1_700_000_000_000_000;
    let missing = |text: &str| Header::parse(text.as_bytes()).missing(now, "id");
    assert_eq!(missing("Date: x\nMessage-ID: <a@b>\n\n"), None);
    assert_eq!(
        missing("From x\r\nFrom: a@b.org\r\n\r\n"),
        Some((8, "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <id@b.org>\r\n".to_owned()))
    );
    assert_eq!(Header::parse(b"message-id: <q@r> (c)\n").message_id().unwrap(), "<q@r>");
}

#[test]
fn the_account_is_the_one_that_sends_as_from() {
    let account = |name: &str, address: &str, aliases: &[&str]| Sending {
        name: AccountName(name.to_owned()),
        address: address.to_owned(),
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
    };
    let all =
        [account("w", "me@x.org", &["*@y.org", "*@z.org"]), account("h", "h@z.org", &["s@y.org"])];
    for (from, expected) in [
        ("Me@X.org", Some("w")),
        ("me+list@x.org", Some("w")),
        ("s@y.org", Some("h")),
        ("any@y.org", Some("w")),
        ("h+a@z.org", Some("h")),
        ("other@x.org", None),
    ] {
        let found = account_for(&Address::new(from).unwrap(), &all).map(AccountName::as_str);
        assert_eq!(found, expected, "{from}");
    }
}

#[test]
fn control_headers_are_read() {
    let wishes = Header::parse(
        b"X-Postrider-Hold: yes\nX-Postrider-Send-After: 2023-11-14T22:13:20Z\n\
          X-Postrider-On-Uncertain: retry\nX-Postrider-Account: home\n\n",
    )
    .wishes();
    assert!(wishes.hold);
    assert_eq!(wishes.send_after.from(0), 1_700_000_000_000_000);
    assert_eq!(wishes.on_uncertain, Some(OnUncertain::Retry));
    assert_eq!(wishes.account, Some(AccountName("home".to_owned())));
}

proptest! {
    #[test]
    fn any_bytes_give_a_header_whose_ranges_are_in_order(
        bytes in proptest::collection::vec(
            prop_oneof![any::<u8>(), Just(b'\n'), Just(b'\r'), Just(b':'), Just(b'B')], 0..200)
    ) {
        let header = Header::parse(&bytes);
        let _made = header.envelope(None, &header.wishes());
        let mut last = 0;
        for range in header.stripped(Audience::Recipients) {
            prop_assert!(range.start >= last && range.end > range.start);
            last = range.end;
        }
    }
}
