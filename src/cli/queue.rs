//! The queue as `mailq` prints it, from the ledger: with and without a daemon. Beside floor 5.

use std::path::Path;

use chrono::{DateTime, Utc};

use super::print::columns;
use crate::daemon::queued;
use crate::daemon::spool::Answer;
use crate::model::outbox::Item;
use crate::model::status::Micros;

/// One line per message that is not done: id, state, size, age, recipients, why it waits.
pub(super) fn queued(state_dir: &Path, now: DateTime<Utc>) -> Answer {
    match queued::items(state_dir) {
        Ok(items) if items.is_empty() => {
            Answer { out: "Mail queue is empty\n".to_owned(), ..Answer::default() }
        }
        Ok(items) => Answer { out: table(&items, now) + "\n", ..Answer::default() },
        Err(failure) => Answer::refused(failure.kind.exit_code(), &failure.to_string()),
    }
}

fn table(items: &[Item], now: DateTime<Utc>) -> String {
    let heads = ["ID", "STATE", "BYTES", "AGE", "RECIPIENTS", "WHY"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(items.iter().map(|item| {
        let open: Vec<String> = item.open().iter().map(ToString::to_string).collect();
        vec![
            item.id.to_string(),
            item.phase.as_str().to_owned(),
            item.size.to_string(),
            age(item.queued_at, now),
            open.join(","),
            item.reason.as_ref().map(|why| why.text.clone()).unwrap_or_default(),
        ]
    }));
    columns(&rows)
}

fn age(since: Micros, now: DateTime<Utc>) -> String {
    let since = i64::try_from(since).ok().and_then(DateTime::from_timestamp_micros);
    since.map_or_else(|| "-".to_owned(), |since| super::view::span(since, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::OutboxId;

    #[test]
    fn the_queue_is_a_table_and_an_empty_one_says_so() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let item = Item::claimed(OutboxId("1.a".to_owned()), 1_699_999_940_000_000);
        assert_eq!(
            table(&[item], now),
            "ID   STATE    BYTES  AGE    RECIPIENTS  WHY\n1.a  claimed  0      1 min"
        );
        let dir = tempfile::tempdir().unwrap();
        let answer = queued(&dir.path().join("none"), now);
        assert_eq!((answer.code, answer.out.as_str()), (0, "Mail queue is empty\n"));
    }
}
