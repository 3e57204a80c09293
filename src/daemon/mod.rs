//! Floor 5: the wiring of the service.

pub mod bus;
pub mod check;
pub mod document;
pub mod paths;
pub mod proxy;
pub mod settings;
pub mod wiring;
