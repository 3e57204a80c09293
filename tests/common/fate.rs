//! What a process meets: other programs, failing disks, and its end at the k-th step, before or
//! after the effect. Once dead it stays dead.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use postrider::model::failure::{Failure, Kind, Remedy, Scope};
use postrider::model::status::Watch;
use postrider::ports::hints::HintBox;

/// What happens right before the named step: another program at work, or a disk that fails.
type Meeting = Box<dyn FnMut(&str) -> Result<(), Failure> + Send>;

/// Where the process dies: step `at` (1-based; 0 is never), before or after its effect; and what
/// it meets on its way.
#[derive(Default)]
pub(crate) struct Fate {
    at: usize,
    is_after: bool,
    step: AtomicUsize,
    /// Whether each message of a batch is a step of its own.
    pub(crate) is_split: bool,
    meeting: Mutex<Option<Meeting>>,
    /// With this, files are not watched: hints come from the test alone.
    pub(crate) eyes: Option<Watch>,
    pub(crate) hints: Mutex<Option<Arc<HintBox>>>,
}

impl Fate {
    pub(crate) fn new(at: usize, is_after: bool) -> Arc<Self> {
        Arc::new(Self { at, is_after, is_split: true, ..Self::default() })
    }

    /// Nothing happens to it.
    pub(crate) fn calm() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Its eyes are closed, and it says this about how it watches.
    pub(crate) fn blind(state: Watch) -> Arc<Self> {
        Arc::new(Self { eyes: Some(state), ..Self::default() })
    }

    /// What is done in one step.
    pub(crate) fn batches<'a, T>(&self, items: &'a [T]) -> std::slice::Chunks<'a, T> {
        items.chunks(if self.is_split { 1 } else { items.len().max(1) })
    }

    /// Before each step, this happens.
    fn with(
        is_split: bool,
        meeting: impl FnMut(&str) -> Result<(), Failure> + Send + 'static,
    ) -> Arc<Self> {
        let meeting: Meeting = Box::new(meeting);
        Arc::new(Self { is_split, meeting: Mutex::new(Some(meeting)), ..Self::default() })
    }

    /// Before each step of that name, this happens.
    pub(crate) fn meeting(
        step: &'static str,
        mut meeting: impl FnMut() -> Result<(), Failure> + Send + 'static,
    ) -> Arc<Self> {
        Self::with(false, move |name| if name == step { meeting() } else { Ok(()) })
    }

    /// Before the first step of that name, another program does this.
    pub(crate) fn interrupted(
        step: &'static str,
        other: impl FnOnce() + Send + 'static,
    ) -> Arc<Self> {
        let mut other = Some(other);
        Self::meeting(step, move || {
            if let Some(other) = other.take() {
                other();
            }
            Ok(())
        })
    }

    /// It ends before the first step of that name.
    pub(crate) fn killed_before(step: &'static str) -> Arc<Self> {
        let mut is_over = false;
        Self::with(true, move |name| {
            is_over |= name == step;
            if is_over { Err(dead()) } else { Ok(()) }
        })
    }

    /// It ends after the first step of that name took effect.
    pub(crate) fn killed_after(step: &'static str) -> Arc<Self> {
        let mut is_over = false;
        Self::with(true, move |name| {
            if is_over {
                return Err(dead());
            }
            is_over = name == step;
            Ok(())
        })
    }

    /// Tells whoever is met that a step is about to happen.
    pub(crate) fn meet(&self, name: &str) -> Result<(), Failure> {
        self.meeting.lock().unwrap().as_mut().map_or(Ok(()), |meeting| meeting(name))
    }

    pub(crate) fn steps(&self) -> usize {
        self.step.load(Ordering::SeqCst)
    }

    /// Counts a step; an error if the process is dead before it happens.
    pub(crate) fn before(&self, name: &str) -> Result<usize, Failure> {
        self.meet(name)?;
        let step = self.step.fetch_add(1, Ordering::SeqCst) + 1;
        let is_dead = self.at > 0 && (step > self.at || (step == self.at && !self.is_after));
        if is_dead { Err(dead()) } else { Ok(step) }
    }

    /// An error if the process died right after the step.
    pub(crate) fn after<T>(&self, step: usize, value: T) -> Result<T, Failure> {
        if self.at > 0 && step == self.at && self.is_after { Err(dead()) } else { Ok(value) }
    }

    pub(crate) fn run<T>(
        &self,
        name: &str,
        effect: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let step = self.before(name)?;
        let value = effect()?;
        self.after(step, value)
    }
}

fn dead() -> Failure {
    Failure::new(Scope::Account, Remedy::Later, Kind::LocalIo, "the process was killed")
}
