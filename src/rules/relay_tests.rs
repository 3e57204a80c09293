use super::*;
use crate::model::outbox::{Recipient, Reply};

const NOW: Micros = 1_700_000_000_000_000;
const POLICY: RelayPolicy =
    RelayPolicy { retry_for: Duration::from_secs(3600), on_uncertain: OnUncertain::Hold };

fn item(n: u8) -> Item {
    let mut item = Item::claimed(OutboxId("i".to_owned()), NOW);
    item.phase = Phase::Sending;
    item.recipients = (0..n)
        .map(|i| Recipient {
            address: Address::new(&format!("{i}@x")).unwrap(),
            state: RecipientState::Pending,
            reply: None,
        })
        .collect();
    item
}

fn outcome(codes: &[u16]) -> Outcome {
    let verdict = |code| match code {
        200..300 => Verdict::Accepted(Reply::new(code, None, "ok")),
        400..500 => Verdict::Deferred(Reply::new(code, Some([4, 7, 1]), "later")),
        _ => Verdict::Refused(Reply::new(code, None, "no")),
    };
    let all = codes.iter().enumerate();
    Outcome {
        verdicts: all
            .map(|(i, code)| (Address::new(&format!("{i}@x")).unwrap(), verdict(*code)))
            .collect(),
    }
}

fn check(codes: &[u16], phase: Phase, copy: CopyState) -> Item {
    let mut item = item(3);
    let _change = settle(&mut item, &outcome(codes), NOW, 500, &POLICY);
    assert_eq!((item.phase, item.copy), (phase, copy), "{codes:?}");
    item
}

#[test]
fn verdicts_decide_per_recipient() {
    check(&[250, 250, 250], Phase::Accepted, CopyState::Due);
    check(&[550, 550, 550], Phase::Failed, CopyState::NotYet);
    check(&[250, 550, 250], Phase::Failed, CopyState::Due);
    let item = check(&[250, 550, 450], Phase::Queued, CopyState::Due);
    assert_eq!(item.open(), [Address::new("2@x").unwrap()]);
    assert_eq!(item.next_try, after(NOW, Duration::from_secs(300)), "greylisting");
    check(&[452, 452, 452], Phase::Queued, CopyState::NotYet);
}

#[test]
fn retry_for_ends_the_retries() {
    let mut item = item(1);
    let later = after(NOW, POLICY.retry_for);
    let _change = settle(&mut item, &outcome(&[452]), later, 500, &POLICY);
    assert_eq!(item.phase, Phase::Failed);
    assert!(item.recipients[0].reply.as_deref().unwrap().contains("452 4.7.1 later"));
}

#[test]
fn a_message_is_late_after_four_hours_of_waiting_and_not_of_being_held() {
    let mut item = item(1);
    item.phase = Phase::Queued;
    let four = after(NOW, Duration::from_secs(4 * 3600));
    assert!(!is_late(&item, four - 1) && is_late(&item, four));
    item.hold_until = NOW + 1_000_000;
    assert!(!is_late(&item, four));
    item.phase = Phase::Held;
    assert!(!is_late(&item, four * 2));
}

#[test]
fn trouble_of_the_account_ages_no_message() {
    let mut item = item(1);
    let failure = Failure::new(Scope::Account, Remedy::Later, Kind::Offline, "x");
    let before = Broken { failure: failure.clone(), after_dot: false, in_mail: false };
    broke(&mut item, &before, after(NOW, POLICY.retry_for * 9), 500, &POLICY);
    assert_eq!((item.phase, item.tries), (Phase::Queued, 0));
    broke(&mut item, &Broken { failure, after_dot: true, in_mail: true }, NOW, 500, &POLICY);
    assert_eq!(item.phase, Phase::Uncertain);
}

#[test]
fn a_crash_is_uncertain_only_behind_the_dot() {
    let phases = [
        (Phase::Sending, Phase::Queued),
        (Phase::Dot, Phase::Uncertain),
        (Phase::SentCopy, Phase::Accepted),
        (Phase::Queued, Phase::Queued),
    ];
    for (found, expected) in phases {
        let mut item = item(1);
        item.phase = found;
        resume(&mut item, NOW, &POLICY);
        assert_eq!(item.phase, expected);
    }
}

#[test]
fn delays_grow_to_an_hour_and_ids_sort_by_time() {
    assert_eq!(back_off(1, 500), Duration::from_secs(15));
    assert_eq!(back_off(1, 0), Duration::from_secs(12));
    assert_eq!(back_off(1, 1000), Duration::from_secs(18));
    assert_eq!(back_off(u32::MAX, 500), Duration::from_secs(3600));
    assert!(new_id(NOW, u32::MAX) < new_id(NOW + 1, 0));
}
