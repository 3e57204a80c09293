//! LIST and LSUB, with the selection and return options of RFC 5258, 5819 and 6154.

use super::mailboxes::{quoted_delimiter, quoted_name, status_items};
use super::session::{Done, Session};
use crate::config::Capability;
use crate::mailbox::Mailbox;
use crate::state::State;
use crate::token::{Token, tokens};
use crate::utf7;

#[derive(Debug, Default)]
struct Listing {
    /// Only subscribed names.
    subscribed: bool,
    /// Only names with a SPECIAL-USE attribute.
    special_only: bool,
    patterns: Vec<String>,
    tell_subscribed: bool,
    status: Option<Vec<Token>>,
}

/// Takes a parenthesised list off the front; `None` if there is none or it does not end.
fn group(tokens: &[Token]) -> Option<(&[Token], &[Token])> {
    let rest = tokens.strip_prefix(&[Token::Open])?;
    let mut depth = 0_usize;
    for (at, token) in rest.iter().enumerate() {
        match token {
            Token::Open => depth += 1,
            Token::Close if depth == 0 => return Some((rest.get(..at)?, rest.get(at + 1..)?)),
            Token::Close => depth -= 1,
            Token::Atom(_) | Token::Quoted(_) | Token::Literal(_) => {}
        }
    }
    None
}

fn parse(all: &[Token]) -> Option<Listing> {
    let mut listing = Listing::default();
    let mut rest = all;
    if let Some((options, tail)) = group(rest) {
        listing.subscribed = options.iter().any(|token| token.is_atom("SUBSCRIBED"));
        listing.special_only = options.iter().any(|token| token.is_atom("SPECIAL-USE"));
        listing.tell_subscribed = listing.subscribed;
        rest = tail;
    }
    let (reference, tail) = rest.split_first()?;
    let reference = reference.text()?;
    let patterns = match group(tail) {
        Some((patterns, tail)) => {
            rest = tail;
            patterns
        }
        None => {
            let (patterns, tail) = tail.split_at_checked(1)?;
            rest = tail;
            patterns
        }
    };
    for pattern in patterns {
        let whole = [reference, pattern.text()?].concat();
        // The matcher recurses once per character.
        (whole.len() <= 1024).then_some(())?;
        listing.patterns.push(utf7::decode(&whole)?);
    }
    if let Some((first, tail)) = rest.split_first() {
        let (mut options, _) = group(tail).filter(|_| first.is_atom("RETURN"))?;
        while let Some((option, tail)) = options.split_first() {
            listing.tell_subscribed |= option.is_atom("SUBSCRIBED");
            options = tail;
            if option.is_atom("STATUS") {
                let (items, tail) = group(tail)?;
                listing.status = Some(items.to_vec());
                options = tail;
            }
        }
    }
    Some(listing)
}

/// Matches `*` (anything) and `%` (anything but the delimiter).
fn matches(pattern: &str, name: &str, delimiter: Option<char>) -> bool {
    let mut chars = pattern.chars();
    let Some(first) = chars.next() else {
        return name.is_empty();
    };
    let rest = chars.as_str();
    if first != '*' && first != '%' {
        return name.strip_prefix(first).is_some_and(|name| matches(rest, name, delimiter));
    }
    let mut tail = name;
    loop {
        if matches(rest, tail, delimiter) {
            return true;
        }
        let mut chars = tail.chars();
        match chars.next() {
            None => return false,
            Some(c) if first == '%' && Some(c) == delimiter => return false,
            Some(_) => tail = chars.as_str(),
        }
    }
}

fn attributes(state: &State, name: &str, mailbox: &Mailbox, listing: &Listing) -> String {
    let mut attributes = Vec::new();
    if mailbox.no_select {
        attributes.push("\\Noselect");
    }
    let below = state.config.delimiter.map(|d| format!("{name}{d}"));
    let children = below.is_some_and(|b| state.mailboxes.keys().any(|other| other.starts_with(&b)));
    attributes.push(if children { "\\HasChildren" } else { "\\HasNoChildren" });
    if state.config.capabilities.has(Capability::SpecialUse) {
        attributes.extend(mailbox.special_use.as_deref());
    }
    if listing.tell_subscribed && mailbox.subscribed {
        attributes.push("\\Subscribed");
    }
    attributes.join(" ")
}

impl Session {
    pub(super) fn list(&mut self, command: &str, arguments: &[u8]) -> Done {
        let Some(all) = tokens(arguments) else {
            return Done::bad("not understood");
        };
        let Some(mut listing) = parse(&all) else {
            return Done::bad("LIST reference pattern");
        };
        let extended = all.len() > 2;
        let offered = self.has(Capability::ListExtended)
            || (listing.status.is_some() && self.has(Capability::ListStatus));
        let status_refused = listing.status.is_some() && !self.has(Capability::ListStatus);
        if (extended && (!offered || command == "LSUB")) || status_refused {
            return Done::bad("these options are not offered");
        }
        if listing.patterns == [""] {
            let delimiter = self.shared.read(|state| state.config.delimiter);
            self.push(format!("* {command} (\\Noselect) {} \"\"", quoted_delimiter(delimiter)));
            return Done::ok("done");
        }
        listing.subscribed |= command == "LSUB";
        let shared = std::sync::Arc::clone(&self.shared);
        shared.read(|state| self.answer_list(state, command, &listing));
        Done::ok("done")
    }

    fn answer_list(&mut self, state: &State, command: &str, listing: &Listing) {
        let delimiter = state.config.delimiter;
        let is_wanted = |name: &str, mailbox: &Mailbox| {
            let patterns = &mut listing.patterns.iter();
            (!listing.subscribed || (mailbox.subscribed && !mailbox.no_select))
                && (!listing.special_only || mailbox.special_use.is_some())
                && patterns.any(|p| matches(p, name, delimiter) || p.eq_ignore_ascii_case(name))
        };
        for (name, mailbox) in state.mailboxes.iter().filter(|(name, m)| is_wanted(name, m)) {
            let attributes = attributes(state, name, mailbox, listing);
            let (delimiter, quoted) = (quoted_delimiter(delimiter), quoted_name(name));
            self.push(format!("* {command} ({attributes}) {delimiter} {quoted}"));
            let items = listing.status.as_ref().filter(|_| !mailbox.no_select);
            if let Some(values) = items.and_then(|items| status_items(state, name, items)) {
                self.push(format!("* STATUS {quoted} ({values})"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_stops_at_the_delimiter() {
        let check = |pattern, name, expected| {
            assert_eq!(matches(pattern, name, Some('/')), expected, "{pattern} {name}");
        };
        check("*", "a/b", true);
        check("%", "a/b", false);
        check("%/%", "a/b", true);
        check("a*", "a/b", true);
        check("b*", "a/b", false);
    }
}
