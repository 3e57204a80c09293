//! cli

pub mod send;
pub mod sendmail;
