//! `[hooks]`: what is run when something happened. Floor 5.

use std::time::Duration;

use super::raw::{Table, Value};
use super::{secret, values};
use crate::model::account::Hook;

/// The hook for new mail.
pub(super) fn new_mail(table: Option<Table<'_>>) -> Option<Hook> {
    let table = table?;
    let hook = table.take("new_mail").and_then(|value| hook(&value));
    table.finish();
    hook
}

fn hook(value: &Value<'_>) -> Option<Hook> {
    let table = value.table_like("a table: { command = [...] }")?;
    let span = |key, default| {
        let value = table.take(key).and_then(|v| v.parsed(values::duration));
        value.unwrap_or(default)
    };
    let debounce = span("debounce", DEBOUNCE);
    let timeout = span("timeout", TIMEOUT);
    if timeout.is_zero() {
        table.spot.below("timeout").problem("must be longer than nothing");
    }
    let command = table.need("command").and_then(|v| secret::command(&v));
    table.finish();
    Some(Hook { command: command?, debounce, timeout })
}

const DEBOUNCE: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(300);
