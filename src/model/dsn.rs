//! What delivery reports a sender asks for. Floor 0.

/// What delivery reports are asked for (RFC 3461).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dsn {
    /// When to report: `SUCCESS`, `FAILURE`, `DELAY`, or `NEVER` alone; empty leaves it to the server.
    pub notify: Vec<&'static str>,
    /// What of the message a report brings back: `FULL` or `HDRS`.
    pub ret: Option<&'static str>,
    /// What the reports call the transaction: printable ASCII without space.
    pub envid: Option<String>,
}

impl Dsn {
    /// Reads `failure,delay; ret=hdrs; envid=X`, and whatever part of it there is. What makes no sense
    /// asks for nothing.
    pub fn parse(text: &str) -> Self {
        let mut dsn = Self::default();
        for part in text.split(';') {
            dsn.take(part);
        }
        dsn
    }

    /// Whether all of a text makes sense.
    pub fn is_whole(text: &str) -> bool {
        text.split(';').all(|part| Self::default().take(part))
    }

    /// Reads one part; whether it makes sense.
    fn take(&mut self, part: &str) -> bool {
        let (key, value) = part.split_once('=').unwrap_or(("notify", part));
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "notify" => {
                self.notify = notify(value);
                let known =
                    |one: &str| WORDS.iter().any(|word| word.eq_ignore_ascii_case(one.trim()));
                value.split(',').all(known)
            }
            "ret" => {
                self.ret = ["FULL", "HDRS"].into_iter().find(|w| w.eq_ignore_ascii_case(value));
                self.ret.is_some()
            }
            "envid" => {
                let fits = (1..=ENVID_BYTES_MAX).contains(&value.len());
                let printable = value.bytes().all(|byte| byte.is_ascii_graphic());
                self.envid = (fits && printable).then(|| value.to_owned());
                self.envid.is_some()
            }
            _ => false,
        }
    }
}

fn notify(value: &str) -> Vec<&'static str> {
    let asked = |word: &&str| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(word));
    if asked(&"NEVER") {
        return vec!["NEVER"];
    }
    WORDS.into_iter().filter(|word| asked(word)).collect()
}

const WORDS: [&str; 4] = ["SUCCESS", "FAILURE", "DELAY", "NEVER"];

const ENVID_BYTES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_sense_is_asked_for_and_nothing_else() {
        let dsn = Dsn::parse("notify=Failure, delay; RET=hdrs; envid=a-1");
        assert_eq!((dsn.notify, dsn.ret), (vec!["FAILURE", "DELAY"], Some("HDRS")));
        assert_eq!(dsn.envid.as_deref(), Some("a-1"));
        assert_eq!(Dsn::parse("success,never").notify, ["NEVER"]);
        assert_eq!(Dsn::parse("x; ret=all; envid=a b; y=z"), Dsn::default());
    }
}
