//! postrider-dbus(7), made from the descriptions of the interfaces, which a test holds against what the
//! daemon says of itself. Beside floor 5.

use roff::{Roff, bold, italic, roman};

use super::{begun, entry, see_also};

pub(super) fn page() -> String {
    let mut page = begun("postrider-dbus", "7", "the D-Bus interface of postrider");
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(DESCRIPTION)]);
    page.control("SH", ["OBJECTS"]);
    for (path, about) in OBJECTS {
        entry(&mut page, vec![bold(*path)], about);
    }
    for xml in DESCRIPTIONS {
        interface(&mut page, xml);
    }
    page.control("SH", ["ERRORS"]);
    page.text([roman(format!("org.postrider.Postrider1.Error. with one of: {ERRORS}. "))]);
    page.text([roman("See"), roman(" "), bold("postrider explain"), roman(" CODE.")]);
    page.control("SH", ["EXAMPLES"]);
    page.control("EX", []);
    for line in EXAMPLES.lines() {
        page.text([roman(line)]);
    }
    page.control("EE", []);
    see_also(&mut page, &[("postrider", "1"), ("busctl", "1"), ("gdbus", "1")]);
    page.render()
}

/// The section of an interface.
fn interface(page: &mut Roff, xml: &str) {
    let (mut words, mut in_words) = (String::new(), false);
    let (mut member, mut taken, mut given) = (("", ""), Vec::new(), Vec::new());
    for line in xml.lines().map(str::trim) {
        let attribute = |name| attribute(line, name).unwrap_or_default();
        if line == "<!--" {
            (words, in_words) = (String::new(), true);
        } else if line == "-->" {
            in_words = false;
        } else if in_words {
            words.push_str(line);
            words.push('\n');
        } else if line.starts_with("<interface ") {
            page.control("SH", [attribute("name")]);
        } else if line.starts_with("<property ") {
            let head =
                vec![bold(attribute("name")), roman(" property "), italic(attribute("type"))];
            entry(page, head, words.trim());
        } else if line.starts_with("<method ") || line.starts_with("<signal ") {
            let kind = if line.starts_with("<method ") { "method" } else { "signal" };
            (member, taken, given) = ((attribute("name"), kind), Vec::new(), Vec::new());
        } else if line.starts_with("<arg ") {
            let arg = format!("{} {}", attribute("type"), attribute("name"));
            if attribute("direction") == "out" { given.push(arg) } else { taken.push(arg) }
        }
        if matches!(line, "</method>" | "</signal>") {
            let mut head = vec![bold(member.0), roman(format!(" {} (", member.1))];
            head.extend([italic(taken.join(", ")), roman(")")]);
            if !given.is_empty() {
                head.extend([roman(" -> "), italic(given.join(", "))]);
            }
            entry(page, head, words.trim());
        }
    }
}

/// The value of an attribute of an element that stands on one line.
fn attribute<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let (_, rest) = line.split_once(&format!(" {name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

const DESCRIPTIONS: [&str; 3] = [
    include_str!("../../../data/dbus-1/interfaces/org.postrider.Postrider1.Manager.xml"),
    include_str!("../../../data/dbus-1/interfaces/org.postrider.Postrider1.Account.xml"),
    include_str!("../../../data/dbus-1/interfaces/org.postrider.Postrider1.Outbox.xml"),
];

const DESCRIPTION: &str = "The service owns the name org.postrider.Postrider1 on the session bus. The same objects are on the private socket \
     $XDG_RUNTIME_DIR/postrider/bus, peer to peer. Every property emits PropertiesChanged, progress at most twice a second; accounts \
     that come and go are told by the ObjectManager of the first object. No secret, subject, address book or text of a message crosses \
     the bus. Clients that only look set NO_AUTO_START (busctl --auto-start=no), so that they do not start a service that was stopped.";

const OBJECTS: &[(&str, &str)] = &[
    ("/org/postrider/Postrider1", "Manager, and org.freedesktop.DBus.ObjectManager."),
    (
        "/org/postrider/Postrider1/account/NAME",
        "Account; bytes of the name outside [A-Za-z0-9] are _xx.",
    ),
    ("/org/postrider/Postrider1/outbox", "Outbox."),
];

const ERRORS: &str = "NoSuchAccount, NoSuchMailbox, NoSuchMessage, NoSuchJob, Busy, Paused, Offline, NeedsLogin, AuthFailed, KeyringLocked, \
     TlsUntrusted, ConfigInvalid, InvalidAddress, NoAccountForSender, MessageTooBig, NotSupported, LocalIo, Timeout, Protocol";

const EXAMPLES: &str = "busctl --user --auto-start=no tree org.postrider.Postrider1
busctl --user --auto-start=no get-property org.postrider.Postrider1 \\
    /org/postrider/Postrider1 org.postrider.Postrider1.Manager State Unread
busctl --user call org.postrider.Postrider1 /org/postrider/Postrider1 \\
    org.postrider.Postrider1.Manager Sync 'asa{sv}' 1 work 0
gdbus monitor --session --dest org.postrider.Postrider1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_with_their_words_and_types() {
        let mut page = Roff::new();
        let xml = "<interface name=\"a.B\">\n<!--\nStops it.\n-->\n<method name=\"Pause\">\n\
                   <arg name=\"seconds\" type=\"t\" direction=\"in\"/>\n</method>\n<!--\nHow many.\n-->\n\
                   <property name=\"Unread\" type=\"u\" access=\"read\"/>\n</interface>";
        interface(&mut page, xml);
        let text = page.to_roff();
        assert!(text.contains("\\fBPause\\fR method (\\fIt seconds\\fR)\nStops it.\n"), "{text}");
        assert!(text.contains("\\fBUnread\\fR property \\fIu\\fR\nHow many.\n"), "{text}");
    }
}
