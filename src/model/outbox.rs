//! Outgoing messages: envelope, phases and verdicts. Floor 0.
