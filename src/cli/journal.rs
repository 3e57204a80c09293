//! The journal of systemd: a field for each field of an event, and a `MESSAGE_ID` for what people and
//! programs look for. Beside floor 5.

use std::collections::BTreeMap;
use std::fmt::Debug;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_journald::Layer as Journald;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::model::happening::Happening;

/// Writes to the journal.
pub(super) struct Journal {
    /// For what happens all the time.
    plain: Journald,
    /// For what has a `MESSAGE_ID`: a layer puts the same fields into all that it writes.
    marked: BTreeMap<Happening, Journald>,
}

/// The journal, when stderr is connected to it: a variable that was only inherited does not count.
pub(super) fn connect() -> Option<Journal> {
    let stream = std::env::var("JOURNAL_STREAM").ok()?;
    let (device, inode) = stream.split_once(':')?;
    let stat = rustix::fs::fstat(std::io::stderr()).ok()?;
    let is_ours = device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino);
    if !is_ours {
        return None;
    }
    let marked =
        |one: Happening| Some((one, layer()?.with_custom_fields([("MESSAGE_ID", one.id())])));
    Some(Journal {
        plain: layer()?,
        marked: Happening::ALL.into_iter().map(marked).collect::<Option<_>>()?,
    })
}

/// Fields of ours cannot be mistaken for those of systemd.
fn layer() -> Option<Journald> {
    let layer = tracing_journald::layer().ok()?;
    Some(
        layer
            .with_syslog_identifier("postrider".to_owned())
            .with_field_prefix(Some("POSTRIDER".to_owned())),
    )
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Journal {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.plain.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.plain.on_record(id, values, context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut kind = Kind(None);
        event.record(&mut kind);
        let layer = kind.0.and_then(|kind| self.marked.get(&kind)).unwrap_or(&self.plain);
        layer.on_event(event, context);
    }
}

/// Finds out what kind of event it is.
struct Kind(Option<Happening>);

impl Visit for Kind {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            self.0 = Happening::parse(value);
        }
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn Debug) {}
}
