//! Where the log goes: to the journal when systemd started us, else to stderr. Beside floor 5.

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterFn, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

#[cfg(target_os = "linux")]
use super::journal;
use super::print;
use crate::daemon::settings::log_filter;

/// Starts to log. `POSTRIDER_LOG` overrides `filter`, unless it is not understood.
pub(super) fn start(filter: &str) {
    let wanted = std::env::var("POSTRIDER_LOG").unwrap_or_default();
    let wanted = match log_filter(&wanted) {
        Ok(wanted) => wanted,
        Err(_) if wanted.is_empty() => filter.to_owned(),
        Err(err) => {
            let text = format!("warning: POSTRIDER_LOG: {err}; logging at {filter}");
            print::trouble(&text);
            filter.to_owned()
        }
    };
    let filter = EnvFilter::new(wanted);
    let registry = tracing_subscriber::registry().with(filter).with(caps());
    #[cfg(target_os = "linux")]
    let registry = match journal::connect() {
        Some(journal) => return told(registry.with(journal).try_init()),
        None => registry,
    };
    let stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    told(registry.with(stderr.with_ansi(print::has_colours_on_stderr())).try_init());
}

fn told(started: Result<(), TryInitError>) {
    if let Err(err) = started {
        print::trouble(&format!("warning: no log: {err}"));
    }
}

/// These may write what passes through them below INFO: commands with passwords, whole messages.
fn caps() -> FilterFn {
    filter_fn(|metadata: &Metadata<'_>| is_allowed(metadata.target(), *metadata.level()))
}

fn is_allowed(target: &str, level: Level) -> bool {
    let of = |name: &str| {
        target.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    if ["notify", "zbus"].into_iter().any(of) {
        level <= Level::WARN
    } else if ["async_imap", "imap_proto"].into_iter().any(of) {
        level <= Level::INFO
    } else {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_that_see_secrets_are_capped_whatever_the_filter_says() {
        assert!(!is_allowed("async_imap::imap_stream", Level::TRACE));
        assert!(!is_allowed("async_imap", Level::DEBUG));
        assert!(is_allowed("async_imap", Level::INFO));
        assert!(!is_allowed("zbus::connection", Level::INFO));
        assert!(is_allowed("zbus", Level::WARN));
        assert!(is_allowed("zbus_like", Level::TRACE));
        assert!(is_allowed("postrider::engine", Level::TRACE));
    }
}
