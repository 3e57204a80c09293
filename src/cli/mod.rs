//! cli

pub mod send;
pub mod sendmail;
pub mod spool;
