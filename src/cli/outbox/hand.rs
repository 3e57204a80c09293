//! Who steers the queue: the daemon, or this process where none runs. Beside floor 5.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::{Entry, look};
use crate::cli::client::Daemon;
use crate::cli::complaint::{Complaint, exit_code};
use crate::cli::{log, print};
use crate::daemon::errand::{self, Errand};
use crate::daemon::proxy::OutboxProxy;
use crate::daemon::settings;
use crate::model::account::Settings;
use crate::model::failure::server_words;
use crate::model::ids::OutboxId;
use crate::model::outbox::{Decision, Item};

/// Whoever does what is asked.
pub(in crate::cli) enum Hand {
    /// The daemon.
    Daemon(Daemon, OutboxProxy<'static>),
    /// This process.
    Alone(Box<Settings>),
}

impl Hand {
    /// The daemon, or this process where none runs.
    pub(in crate::cli) async fn find(config: Option<&Path>) -> Result<Self, Complaint> {
        if let Some(daemon) = Daemon::of_this_state(config).await? {
            let outbox = daemon.outbox().await?;
            return Ok(Self::Daemon(daemon, outbox));
        }
        log::start("error");
        Ok(Self::Alone(Box::new(settings::load(&settings::locate(config))?)))
    }

    pub(super) async fn hold(&self, ids: &[String]) -> Result<(), Complaint> {
        match self {
            Self::Daemon(_, outbox) => {
                let ours = refs(ids);
                Ok(patiently(|| outbox.hold(&ours)).await?)
            }
            Self::Alone(settings) => done(settings, Errand::Hold(owned(ids))).await,
        }
    }

    pub(super) async fn release(&self, ids: &[String]) -> Result<(), Complaint> {
        match self {
            Self::Daemon(_, outbox) => Ok(outbox.release(&refs(ids)).await?),
            Self::Alone(settings) => done(settings, Errand::Release(owned(ids))).await,
        }
    }

    pub(super) async fn cancel(&self, ids: &[String]) -> Result<(), Complaint> {
        match self {
            Self::Daemon(_, outbox) => {
                let ours = refs(ids);
                Ok(patiently(|| outbox.cancel(&ours)).await?)
            }
            Self::Alone(settings) => done(settings, Errand::Cancel(owned(ids))).await,
        }
    }

    pub(super) async fn resolve(&self, id: &str, decision: &str) -> Result<(), Complaint> {
        let word = match decision {
            "sent" => Decision::Sent,
            "resend" => Decision::Resend,
            _ => Decision::Drop,
        };
        match self {
            Self::Daemon(_, outbox) => Ok(outbox.resolve(id, decision).await?),
            Self::Alone(settings) => {
                done(settings, Errand::Resolve(OutboxId(id.to_owned()), word)).await
            }
        }
    }

    /// Tries these again, failed ones as well; all that wait or failed where none is named. Says what came of it.
    pub(super) async fn retry(
        &self,
        config: Option<&Path>,
        ids: &[String],
    ) -> Result<(String, u8), Complaint> {
        match self {
            Self::Daemon(daemon, outbox) => {
                let ids = if ids.is_empty() { waiting(config).await? } else { ids.to_vec() };
                if ids.is_empty() {
                    return Ok(NOTHING);
                }
                let job = outbox.flush(&refs(&ids)).await?;
                let result = daemon.manager.wait_job(job).await?;
                let ok = result.get("ok").and_then(|ok| bool::try_from(&**ok).ok());
                if ok == Some(false) {
                    return Err(refused(&result));
                }
                let left = look(config, &[]).await?;
                let open = |one: &&Entry| ids.contains(&one.id) && !one.is_sent();
                Ok(tried(ids.len(), left.iter().filter(open).count()))
            }
            Self::Alone(settings) => {
                let errand = match ids {
                    [] => Errand::Retry,
                    ids => Errand::Send(owned(ids)),
                };
                let all = errand::run(settings, errand).await?;
                let meant = |one: &&Item| ids.is_empty() || ids.contains(&one.id.0);
                let n_left = all.left.iter().filter(meant).count() + all.failed;
                match all.sent + n_left {
                    0 => Ok(NOTHING),
                    n => Ok(tried(n, n_left)),
                }
            }
        }
    }

    /// Tries what waits, or these, as `sendmail -q` does: a daemon is only told to.
    pub(in crate::cli) async fn flush(&self, ids: &[OutboxId]) -> Result<u8, Complaint> {
        match self {
            Self::Daemon(_, outbox) => {
                let ids: Vec<&str> = ids.iter().map(|id| id.0.as_str()).collect();
                outbox.flush(&ids).await?;
                Ok(0)
            }
            Self::Alone(settings) => {
                let all = errand::run(settings, Errand::Send(ids.to_vec())).await?;
                if all.failed > 0 {
                    print::trouble(&format!(
                        "{} refused for good, and parked: postrider outbox show",
                        all.failed
                    ));
                }
                let why = all.left.iter().find_map(|item| item.reason.as_ref());
                match why {
                    Some(why) => Err(Complaint::plain(
                        75,
                        &format!(
                            "{} of the queued messages wait: {}\n  to mend it:  postrider outbox",
                            all.left.len(),
                            server_words(&why.text)
                        ),
                    )),
                    None => Ok(0),
                }
            }
        }
    }
}

async fn done(settings: &Settings, errand: Errand) -> Result<(), Complaint> {
    Ok(errand::run(settings, errand).await.map(drop)?)
}

fn tried(n: usize, n_left: usize) -> (String, u8) {
    let text = format!("tried {n}: {} sent, {n_left} left in the outbox", n - n_left);
    (text, if n_left > 0 { 75 } else { 0 })
}

fn owned(ids: &[String]) -> Vec<OutboxId> {
    ids.iter().cloned().map(OutboxId).collect()
}

fn refs(ids: &[String]) -> Vec<&str> {
    ids.iter().map(String::as_str).collect()
}

/// What can be tried again: not what its writer wants later.
async fn waiting(config: Option<&Path>) -> Result<Vec<String>, Complaint> {
    let all = look(config, &[]).await?;
    let some = all.into_iter().filter(|one| match one.phase.as_str() {
        "queued" => !one.is_scheduled(),
        phase => phase == "failed",
    });
    Ok(some.map(|one| one.id).collect())
}

/// Asks again for a moment while a message is on its way: most attempts are short, and then it waits again.
async fn patiently<F: Future<Output = zbus::Result<()>>>(ask: impl Fn() -> F) -> zbus::Result<()> {
    for _ in 0..ON_ITS_WAY_TRIES {
        match ask().await {
            Err(err) if err.to_string().contains("it is on its way") => sleep(TRY_APART).await,
            done => return done,
        }
    }
    ask().await
}

/// What the result of the job says.
fn refused(result: &std::collections::HashMap<String, zbus::OwnedVariant>) -> Complaint {
    let json = result.get("json").and_then(|json| <&str>::try_from(&**json).ok());
    let document: Value = json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let error = document.pointer("/accounts/0/error");
    let word = |key| error.and_then(|error| error.get(key)).and_then(Value::as_str);
    let text = server_words(word("text").unwrap_or("the outbox did not answer"));
    Complaint::plain(word("code").map_or(75, exit_code), &text)
}

const NOTHING: (String, u8) = (String::new(), 0);
const ON_ITS_WAY_TRIES: u32 = 20;
const TRY_APART: Duration = Duration::from_millis(100);
