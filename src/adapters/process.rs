//! Commands of the user's that must not outlive their time. Floor 3, shared by the adapters.

/// The process group of a command, killed as a whole when this is dropped: a shell or a pinentry
/// that it started must not outlive its caller.
#[derive(Debug)]
pub struct Group(Option<u32>);

impl Group {
    /// The group that a child leads; none if it ended already.
    pub fn led_by(id: Option<u32>) -> Self {
        Self(id)
    }

    /// The command ended by itself: what it left running may go on.
    pub fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let pid = self.0.and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            // Gone already is fine.
            let _gone = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}
