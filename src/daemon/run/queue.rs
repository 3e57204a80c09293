//! The outbox as the daemon keeps it: started, started again, asked. Floor 5.

use std::sync::Arc;

use super::Daemon;
use crate::daemon::bus::{OUTBOX_JOB, OutboxCall};
use crate::daemon::outbox::OutboxTask;
use crate::daemon::{ready, sent, submit};
use crate::engine::board::{micros_now, trouble};
use crate::engine::jobs::report_error;
use crate::engine::relay::Ask;
use crate::model::event::{AccountReport, JobId};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::{AccountName, OutboxId};
use crate::rules::relay::after;

impl Daemon {
    /// Starts the outbox. Where that fails mail comes all the same: the status says why, and it is tried
    /// again with each beat.
    pub(super) fn start_outbox(&mut self) {
        // Told at once, so that nothing slips out before.
        let paused = self.board.now().paused || self.rest.is_resting();
        let started = OutboxTask::start(
            &self.settings,
            &self.state_dir,
            &self.board,
            self.status.clone(),
            self.events.clone(),
            paused,
        );
        match started {
            Ok(mut task) => {
                task.help(tokio::spawn(sent::look_into_sent(
                    self.events.subscribe(),
                    self.status.clone(),
                    self.jobs.clone(),
                    self.commands.clone(),
                    sent::may_be_filed(&self.settings),
                )));
                self.outbox = Some(task);
                self.no_outbox = None;
                self.board.update(|status| status.outbox.trouble = None);
            }
            Err(failure) => {
                let next = after(micros_now(), ready::heartbeat());
                let before = self.board.now().outbox.trouble.clone();
                if before.is_none() {
                    tracing::error!(%failure, "the outbox cannot start");
                }
                let shown = trouble(&failure, before.as_ref(), next);
                self.board.update(|status| status.outbox.trouble = Some(shown));
                self.no_outbox = Some(failure);
            }
        }
    }

    /// Why the outbox does not run.
    fn out_of_order(&self) -> Failure {
        let busy = || Failure::new(Scope::Daemon, Remedy::Later, Kind::Busy, "ask the outbox");
        self.no_outbox.clone().unwrap_or_else(busy)
    }

    /// Starts the outbox where it did not start before, or died.
    pub(super) fn mend_outbox(&mut self) {
        if self.outbox.as_ref().is_some_and(OutboxTask::is_dead) {
            tracing::error!("the outbox's task died; it is started again");
            self.outbox = None;
        }
        if self.outbox.is_none() {
            self.start_outbox();
        }
    }

    /// Hands on what came over the bus.
    pub(super) fn call(&self, call: OutboxCall) {
        match (call, &self.outbox) {
            (OutboxCall::Ask(request), Some(outbox)) => outbox.pass(request),
            // Whoever asked may be gone.
            (OutboxCall::Ask(request), None) => drop(request.reply.send(Err(self.out_of_order()))),
            (OutboxCall::Submit(submission), _) => {
                let settings = Arc::new(self.settings.clone());
                tokio::spawn(submit::take(settings, self.state_dir.clone(), submission));
            }
        }
    }

    /// Tells the outbox to do something whose end nobody waits for.
    pub(super) fn ask_outbox(&self, what: Ask) {
        if let Some(outbox) = &self.outbox {
            drop(outbox.ask(what));
        }
    }

    /// Tries messages now, and reports to the job.
    pub(super) fn flush(&self, job: JobId, ids: Vec<OutboxId>) {
        let name = AccountName(OUTBOX_JOB.to_owned());
        let Some(outbox) = &self.outbox else {
            let error = Some(report_error(&self.out_of_order()));
            self.jobs.report(job, &name, AccountReport { error, ..AccountReport::default() });
            return;
        };
        let (answer, jobs) = (outbox.ask(Ask::Flush(ids)), self.jobs.clone());
        tokio::spawn(async move {
            let error = match answer.await {
                Ok(Ok(_)) => None,
                Ok(Err(failure)) => Some(report_error(&failure)),
                Err(_) => {
                    let what = "try the outbox";
                    Some(report_error(&Failure::new(
                        Scope::Daemon,
                        Remedy::Later,
                        Kind::Busy,
                        what,
                    )))
                }
            };
            jobs.report(job, &name, AccountReport { error, ..AccountReport::default() });
        });
    }
}
