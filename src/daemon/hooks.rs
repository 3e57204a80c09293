//! What the user wants to have run when mail came: beside the sync, never in its way. Floor 5.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::adapters::process::Group;
use crate::model::account::Hook;
use crate::model::event::Notice;
use crate::model::failure::server_words;

/// New mail that no run of the hook has heard of yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arrivals {
    count: usize,
    mailboxes: BTreeSet<String>,
}

impl Arrivals {
    /// Takes note of a notice; false if it is not about new mail.
    pub(super) fn add(&mut self, notice: &Notice) -> bool {
        let Notice::NewMessages { account, mailbox, paths } = notice else { return false };
        self.count = self.count.saturating_add(paths.len());
        self.mailboxes.insert(format!("{account}/{mailbox}"));
        true
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Runs the hook for new mail until it is stopped: once for all that comes within its debounce, and
/// one run at a time.
pub(super) async fn watch(
    hook: Hook,
    mut notices: broadcast::Receiver<Notice>,
    stop: CancellationToken,
) {
    let mut arrivals = Arrivals::default();
    loop {
        let notice = tokio::select! {
            () = stop.cancelled() => return,
            notice = notices.recv() => notice,
        };
        match notice {
            Ok(notice) if !arrivals.add(&notice) => continue,
            // Some were missed: it is about mail all the same, most likely.
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
        let pause = sleep(hook.debounce);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = &mut pause => break,
                notice = notices.recv() => match notice {
                    Ok(notice) => drop(arrivals.add(&notice)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
            }
        }
        let heard = std::mem::take(&mut arrivals);
        tokio::select! {
            () = stop.cancelled() => return,
            () = run(&hook, &heard) => {}
        }
    }
}

/// Runs the hook once. What goes wrong is logged, and is nobody else's trouble.
pub(super) async fn run(hook: &Hook, arrivals: &Arrivals) {
    let Some((program, args)) = hook.command.split_first() else { return };
    let mailboxes: Vec<&str> = arrivals.mailboxes.iter().map(String::as_str).collect();
    let spawned = Command::new(program)
        .args(args)
        .env("POSTRIDER_EVENT", "new_mail")
        .env("POSTRIDER_COUNT", arrivals.count.to_string())
        .env("POSTRIDER_MAILBOXES", mailboxes.join("\n"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let child = match spawned {
        Ok(child) => child,
        Err(err) => return tracing::warn!(program, %err, "the hook for new mail did not start"),
    };
    let group = Group::led_by(child.id());
    match timeout(hook.timeout, child.wait_with_output()).await {
        Err(_) => {
            let limit = seconds(hook.timeout);
            tracing::warn!(program, limit, "the hook for new mail took too long and was stopped");
        }
        Ok(Err(err)) => tracing::warn!(program, %err, "the hook for new mail was lost"),
        Ok(Ok(done)) => {
            group.disarm();
            if !done.status.success() {
                let text = String::from_utf8_lossy(&done.stderr);
                let last = text.lines().rev().find(|line| !line.trim().is_empty());
                let said = server_words(last.unwrap_or_default());
                tracing::warn!(program, status = %done.status, said, "the hook for new mail failed");
            }
        }
    }
}

fn seconds(span: Duration) -> String {
    format!("{} s", span.as_secs())
}
