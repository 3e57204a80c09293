//! Addresses out of a header value (RFC 5322 §3.4), obsolete forms included. Floor 1.
//!
//! Display names, comments, groups and routes are passed over; what is left is checked by
//! [`Address::new`]. No input makes it panic or recurse.

use crate::model::outbox::Address;

/// Returns the addresses of a header value in order; an unusable one as its text.
pub fn addresses(value: &str) -> Vec<Result<Address, String>> {
    let mut reader = Reader::default();
    for c in value.chars() {
        reader.take(c);
    }
    reader.end();
    reader.found
}

#[derive(Default)]
struct Reader {
    found: Vec<Result<Address, String>>,
    token: String,
    angle: bool,
    taken: bool,
    quoted: bool,
    literal: bool,
    escaped: bool,
    comments: u32,
}

impl Reader {
    fn take(&mut self, c: char) {
        if std::mem::take(&mut self.escaped) {
            if self.comments == 0 {
                self.token.push(c);
            }
            return;
        }
        if c == '\\' && (self.quoted || self.comments > 0) {
            self.escaped = true;
            if self.comments == 0 {
                self.token.push(c);
            }
            return;
        }
        if self.quoted {
            self.quoted = c != '"';
            self.token.push(c);
            return;
        }
        match c {
            '(' => self.comments = self.comments.saturating_add(1),
            ')' if self.comments > 0 => self.comments -= 1,
            _ if self.comments > 0 => {}
            '"' => {
                self.quoted = true;
                self.token.push(c);
            }
            '[' | ']' => {
                self.literal = c == '[';
                self.token.push(c);
            }
            '<' => {
                self.angle = true;
                self.token.clear();
            }
            '>' if self.angle => {
                self.angle = false;
                self.finish();
                self.taken = true;
            }
            // A group's name, or the route of a source-routed address.
            ':' if !self.literal => self.token.clear(),
            ',' | ';' if !self.angle && !self.literal => self.end(),
            _ => self.token.push(c),
        }
    }

    /// Ends one element of the list.
    fn end(&mut self) {
        if !std::mem::take(&mut self.taken) {
            self.finish();
        }
        self.token.clear();
        (self.angle, self.quoted, self.literal, self.comments) = (false, false, false, 0);
    }

    fn finish(&mut self) {
        let text = std::mem::take(&mut self.token);
        let text = text.trim();
        if !text.is_empty() && self.found.len() < ADDRESSES_MAX {
            self.found.push(Address::new(text).ok_or_else(|| text.to_owned()));
        }
    }
}

const ADDRESSES_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, expected: &[&str]) {
        let seen: Vec<String> = addresses(value)
            .into_iter()
            .map(|found| found.map_or_else(|bad| format!("!{bad}"), |a| a.as_str().to_owned()))
            .collect();
        assert_eq!(seen, expected, "{value:?}");
    }

    #[test]
    fn every_form_of_the_grammar_gives_its_address() {
        check("a@b.org", &["a@b.org"]);
        check("A B <a@b.org>, c@d.org (see, this)", &["a@b.org", "c@d.org"]);
        check("\"B, A <x@y>\" <a@b.org>", &["a@b.org"]);
        check("team: a@b.org, C <c@d.org>;, e@f.org", &["a@b.org", "c@d.org", "e@f.org"]);
        check("undisclosed-recipients:;", &[]);
        check("<@r1,@r2:a@b.org>", &["a@b.org"]);
        check("u@[IPv6:::1]", &["u@[IPv6:::1]"]);
        check("\"a b\"@c.org", &["\"a b\"@c.org"]);
        check("root", &["!root"]);
        check("a@b.org; c@d.org", &["a@b.org", "c@d.org"]);
        check("=?utf-8?q?=C3=BC?= <a@b.org>", &["a@b.org"]);
        check("< a@b.org >", &["a@b.org"]);
        check("<a b@c.org>", &["!a b@c.org"]);
    }

    proptest::proptest! {
        #[test]
        fn no_input_makes_it_panic_and_no_control_gets_through(value: String) {
            for address in addresses(&value).into_iter().flatten() {
                proptest::prop_assert!(!address.as_str().contains(char::is_control));
            }
        }
    }
}
