//! How a scenario is told and run: given, when, then, and what holds for each of them.
//!
//! A case runs against every server that it should hold for and, where it has two sides, with the
//! sides swapped, all at the same time. After its last `then` it runs once more: nothing may
//! change, and nothing may be said that could.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use postrider::model::account::Account;
use postrider::model::status::Counters;
use postrider_mailserver::{Capabilities, Capability, Config};

use crate::common::fate::Fate;
use crate::common::sides::Side;
use crate::common::{Outcome, World, changes_of};

/// What the server can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    All,
    NoUidPlus,
    NoCondstore,
    NoQresync,
    NoMove,
    /// IMAP4rev1 and nothing else.
    Bare,
}

impl Offer {
    pub(crate) const EVERY: &[Self] =
        &[Self::All, Self::NoUidPlus, Self::NoCondstore, Self::NoQresync, Self::NoMove, Self::Bare];

    pub(crate) fn has_uidplus(self) -> bool {
        !matches!(self, Self::NoUidPlus | Self::Bare)
    }

    fn capabilities(self) -> Capabilities {
        let all = Capabilities::default();
        match self {
            Self::All => all,
            Self::NoUidPlus => all.without(Capability::UidPlus),
            Self::NoCondstore => all.without(Capability::CondStore).without(Capability::QResync),
            Self::NoQresync => all.without(Capability::QResync),
            Self::NoMove => all.without(Capability::Move),
            Self::Bare => Capabilities::none(),
        }
    }
}

/// One run of a case.
pub(crate) struct Scene {
    world: World,
    /// Where the case happens.
    pub(crate) side: Side,
    pub(crate) offer: Offer,
    /// The last pass.
    pub(crate) outcome: Outcome,
    /// What was seen of both sides before the last `when`.
    pub(crate) before: BTreeMap<String, String>,
    notes: Mutex<BTreeMap<&'static str, String>>,
}

impl Deref for Scene {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl Scene {
    /// Remembers something for a later step.
    pub(crate) fn note(&self, what: &'static str, value: impl std::fmt::Display) {
        self.notes.lock().unwrap().insert(what, format!("{value}"));
    }

    pub(crate) fn noted(&self, what: &str) -> String {
        self.notes.lock().unwrap()[what].clone()
    }

    /// What INBOX came to in the last pass.
    pub(crate) fn inbox(&self) -> Counters {
        self.outcome.of("INBOX")
    }

    /// The text of the error of the last pass.
    pub(crate) fn error(&self) -> String {
        self.outcome.report.error.clone().map(|e| e.text).unwrap_or_default()
    }

    /// Neither side changed since the last `when`.
    pub(crate) fn assert_nothing_happened(&self) {
        assert_eq!(self.snapshot(), self.before);
    }
}

type Act = fn(&Scene);

enum Step {
    /// Prepares, and lets both sides agree.
    Given(Act),
    /// Something happens, then a pass that succeeds.
    When(Act),
    /// Something happens, then a pass that meets something and fails.
    WhenFailing(Act, fn(&Scene) -> Arc<Fate>),
    /// Something happens, then a pass that meets something and succeeds all the same.
    WhenMeeting(Act, fn(&Scene) -> Arc<Fate>),
    Then(Act),
    /// The configuration changes.
    Reconfigure(fn(&mut Account)),
}

/// A scenario.
pub(crate) struct Case {
    offers: &'static [Offer],
    sides: &'static [Side],
    account: fn(&mut Account),
    config: fn(&mut Config),
    steps: Vec<Step>,
}

/// A case on the side `Here`, against every server.
pub(crate) fn case() -> Case {
    Case {
        offers: Offer::EVERY,
        sides: &[Side::Here],
        account: |_| {},
        config: |_| {},
        steps: Vec::new(),
    }
}

/// A server that takes one message with each APPEND.
pub(crate) fn one_by_one(config: &mut Config) {
    config.capabilities = config.capabilities.clone().without(Capability::MultiAppend);
}

impl Case {
    /// Runs it with the sides swapped as well.
    pub(crate) fn both_sides(mut self) -> Self {
        self.sides = &Side::BOTH;
        self
    }

    /// Only against these servers; the case says why.
    pub(crate) fn on(mut self, offers: &'static [Offer]) -> Self {
        self.offers = offers;
        self
    }

    pub(crate) fn account(mut self, change: fn(&mut Account)) -> Self {
        self.account = change;
        self
    }

    pub(crate) fn config(mut self, change: fn(&mut Config)) -> Self {
        self.config = change;
        self
    }

    pub(crate) fn given(self, act: Act) -> Self {
        self.step(Step::Given(act))
    }

    pub(crate) fn when(self, act: Act) -> Self {
        self.step(Step::When(act))
    }

    pub(crate) fn when_failing(self, act: Act) -> Self {
        self.step(Step::WhenFailing(act, |_| Fate::calm()))
    }

    pub(crate) fn when_failing_with(self, act: Act, fate: fn(&Scene) -> Arc<Fate>) -> Self {
        self.step(Step::WhenFailing(act, fate))
    }

    pub(crate) fn when_meeting(self, act: Act, fate: fn(&Scene) -> Arc<Fate>) -> Self {
        self.step(Step::WhenMeeting(act, fate))
    }

    pub(crate) fn then(self, act: Act) -> Self {
        self.step(Step::Then(act))
    }

    pub(crate) fn reconfigure(self, change: fn(&mut Account)) -> Self {
        self.step(Step::Reconfigure(change))
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Runs it in all its variants.
    pub(crate) fn run(self) {
        let case = Arc::new(self);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let mut runs = Vec::new();
        for side in case.sides {
            for offer in case.offers {
                let case = Arc::clone(&case);
                runs.push((*side, *offer, runtime.spawn(case.play(*side, *offer))));
            }
        }
        let mut failed = Vec::new();
        for (side, offer, run) in runs {
            if runtime.block_on(run).is_err() {
                failed.push((side, offer));
            }
        }
        assert!(failed.is_empty(), "failed: {failed:?}");
    }

    async fn play(self: Arc<Self>, side: Side, offer: Offer) {
        let mut config = Config { capabilities: offer.capabilities(), ..Config::default() };
        (self.config)(&mut config);
        let mut scene = Scene {
            world: World::new(config, self.account),
            side,
            offer,
            outcome: Outcome::default(),
            before: BTreeMap::new(),
            notes: Mutex::default(),
        };
        scene.world.settle().await;
        for step in &self.steps {
            scene.take(step).await;
        }
        scene.rest().await;
    }
}

impl Scene {
    async fn take(&mut self, step: &Step) {
        match step {
            Step::Given(act) => {
                act(self);
                self.world.settle().await;
            }
            Step::When(act) => self.act(*act, |_| Fate::calm(), false).await,
            Step::WhenMeeting(act, fate) => self.act(*act, *fate, false).await,
            Step::WhenFailing(act, fate) => self.act(*act, *fate, true).await,
            Step::Then(check) => check(self),
            Step::Reconfigure(change) => change(&mut self.world.account),
        }
    }

    async fn act(&mut self, act: Act, fate: fn(&Self) -> Arc<Fate>, must_fail: bool) {
        act(self);
        self.before = self.snapshot();
        self.server.clear_commands();
        let fate = fate(self);
        self.outcome = self.world.pass(&fate).await;
        let (side, offer) = (self.side, self.offer);
        let error = &self.outcome.report.error;
        assert_eq!(error.is_some(), must_fail, "{side:?} {offer:?}: {error:?}");
    }

    /// The second run: nothing changes, and nothing is said that could.
    async fn rest(&mut self) {
        let (side, offer) = (self.side, self.offer);
        let before = self.snapshot();
        self.server.clear_commands();
        let again = self.world.pass(&Fate::calm()).await;
        assert_eq!(self.mutating(), [], "{side:?} {offer:?}: a second run");
        for (mailbox, counters) in &again.report.mailboxes {
            let changes = changes_of(*counters);
            assert_eq!(changes, Counters::default(), "{mailbox} {side:?} {offer:?}: a second run");
        }
        assert_eq!(self.snapshot(), before, "{side:?} {offer:?}: a second run");
    }
}
