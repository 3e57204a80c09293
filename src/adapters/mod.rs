//! Floor 3: one outside thing each, and one `classify` each. Library types never leave an adapter.
pub mod maildir;
