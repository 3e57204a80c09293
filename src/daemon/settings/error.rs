//! What is wrong with a configuration, as a list that a person can act on. Floor 5.
//!
//! Never quotes a line of the file: it may hold a password.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// Column in characters, from 1; 0 when the whole file is meant.
    pub column: usize,
    /// The full name of the key: `account.work.imap.host`; empty when no key is meant.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
    /// The nearest valid key or value.
    pub nearest: Option<String>,
}

/// Why a configuration cannot be used: everything that is wrong with it, in the order of the file.
///
/// Its text has one line per problem: `file:line:column: key: what is wrong`. Exit code 78.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: PathBuf,
    problems: Vec<Problem>,
}

impl ConfigError {
    /// An error about the file as a whole.
    pub(super) fn whole_file(file: &Path, what: impl Into<String>) -> Self {
        let problem =
            Problem { line: 0, column: 0, key: String::new(), what: what.into(), nearest: None };
        Self { file: file.to_owned(), problems: vec![problem] }
    }

    /// An error from problems at byte offsets of `text`.
    pub(super) fn at_offsets(file: &Path, text: &str, mut raised: Vec<Raised>) -> Self {
        raised.sort();
        raised.dedup();
        let problems = raised
            .into_iter()
            .map(|r| {
                let (line, column) = line_and_column(text, r.at);
                Problem { line, column, key: r.key, what: r.what, nearest: r.nearest }
            })
            .collect();
        Self { file: file.to_owned(), problems }
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The problems, in the order of the file.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().take(PROBLEMS_SHOWN_MAX).enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}", self.file.display())?;
            if problem.line > 0 {
                write!(f, ":{}:{}", problem.line, problem.column)?;
            }
            write!(f, ": {problem}")?;
        }
        match self.problems.len().saturating_sub(PROBLEMS_SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\n{}: {more} more problems", self.file.display()),
        }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean \"{nearest}\"?"),
            None => Ok(()),
        }
    }
}

/// A problem that still knows only its byte offset.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Raised {
    pub(super) at: usize,
    pub(super) key: String,
    pub(super) what: String,
    pub(super) nearest: Option<String>,
}

/// Line and column of a byte offset, both from 1; the column counts characters.
fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

const PROBLEMS_SHOWN_MAX: usize = 50;
