//! Floor 5: the wiring of the service.

pub mod settings;
pub mod spool;
pub mod wiring;
