//! What an SMTP server answers. Floor 0.

use std::fmt;

use crate::model::failure::server_words;

/// What an SMTP server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// The enhanced status code (RFC 3463), if there was one.
    pub enhanced: Option<[u8; 3]>,
    /// The text, one line, escaped and shortened.
    pub text: String,
}

impl Reply {
    /// A reply; the text is made safe to show.
    pub fn new(code: u16, enhanced: Option<[u8; 3]>, text: &str) -> Self {
        Self { code, enhanced, text: server_words(text) }
    }

    /// Whether trying later may help.
    pub fn is_transient(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// Whether a transaction is full, and says nothing about the recipient (RFC 5321 §4.5.3.1.10).
    pub fn is_too_many(&self) -> bool {
        // 552 is an old way to say it (RFC 5321 §4.5.3.1.10).
        matches!(self.code, 452 | 552)
            && (matches!(self.enhanced, Some([_, 5, 3]))
                || self.text.to_lowercase().contains("too many recipients"))
    }

    /// Whether this looks like greylisting: 450 or 451 with 4.7.x or the word itself.
    pub fn is_greylisting(&self) -> bool {
        let policy = matches!(self.enhanced, Some([4, 7, _]));
        let named = self.text.to_lowercase();
        matches!(self.code, 450 | 451)
            && (policy || named.contains("greylist") || named.contains("graylist"))
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some([class, subject, detail]) = self.enhanced {
            write!(f, " {class}.{subject}.{detail}")?;
        }
        write!(f, " {}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greylisting_is_told_from_other_delays() {
        assert!(Reply::new(450, Some([4, 7, 1]), "try later").is_greylisting());
        assert!(Reply::new(451, None, "Greylisted").is_greylisting());
        assert!(!Reply::new(452, Some([4, 3, 1]), "full").is_greylisting());
    }
}
