//! Takes a message into the outbox for a command: check it, record its envelope, spool it. Floor 5.
//!
//! Works with and without a daemon: the row in the outbox ledger comes first, the file second, and a
//! daemon finds both.

use std::io::{Cursor, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::adapters::outbox::OutboxDir;
use crate::adapters::outbox_ledger::SqliteOutbox;
use crate::daemon::place;
use crate::model::account::Settings;
use crate::model::failure::Failure;
use crate::model::ids::OutboxId;
use crate::model::outbox::{Address, Submitted};
use crate::model::status::Micros;
use crate::ports::outbox::OutboxLedger;
use crate::rules::addresses::addresses;
use crate::rules::envelope::{Header, Unsendable};
use crate::rules::relay::new_id;
use crate::rules::senders::{account_for, resting, sending};

/// Where and when a message is spooled.
#[derive(Debug, Clone, Copy)]
pub struct Spooling<'a> {
    /// The configuration.
    pub settings: &'a Settings,
    /// The state directory.
    pub state_dir: &'a Path,
    /// Whether a daemon runs that will send it.
    pub daemon_runs: bool,
    /// Microseconds since the epoch.
    pub now: Micros,
    /// A random number.
    pub random: u32,
}

/// What a command says, and its exit code.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The exit code (sysexits).
    pub code: u8,
    /// The name of the D-Bus error, without prefix; empty when all is well.
    pub name: &'static str,
    /// For stdout, with line ends.
    pub out: String,
    /// For stderr, with line ends.
    pub err: String,
}

impl Answer {
    /// A refusal: a code and what to say.
    pub fn refused(code: u8, why: &str) -> Self {
        let name = match code {
            65 | 67 => "InvalidAddress",
            _ => "LocalIo",
        };
        Self { code, name, out: String::new(), err: format!("postrider: {why}\n") }
    }
}

/// Spools one message; `wishes` are control header fields that the caller chose, as (name, value).
///
/// # Errors
///
/// The answer that says why it is not spooled.
pub fn spool(
    how: &Spooling<'_>,
    submitted: &Submitted,
    wishes: &[(&str, String)],
    input: &mut dyn Read,
) -> Result<(OutboxId, String), Answer> {
    spool_as(how, submitted, wishes, None, input)
}

/// As [`spool`]; a message without a From gets `author` for one.
///
/// # Errors
///
/// The answer that says why it is not spooled.
pub fn spool_as(
    how: &Spooling<'_>,
    submitted: &Submitted,
    wishes: &[(&str, String)],
    author: Option<String>,
    mut input: &mut dyn Read,
) -> Result<(OutboxId, String), Answer> {
    let mut head = Vec::new();
    let read = Read::by_ref(&mut input).take(HEAD_BYTES).read_to_end(&mut head);
    read.map_err(|err| Answer::refused(74, &format!("read the message: {err}")))?;
    complete(&mut head, author);
    choose(&mut head, wishes);
    check(how, submitted, &Header::parse(&head))?;
    let id = new_id(how.now, how.random);
    let mut content = Clean { input: Cursor::new(head).chain(input), has_nul: false };
    let mut store = || -> Result<(), Failure> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(how.state_dir)
            .map_err(|err| Failure::local_io("make the state directory", &err))?;
        // The daemon may have been started with another home or configuration: mail goes where it looks.
        let theirs = if how.daemon_runs { place::noted(how.state_dir)? } else { None };
        let spool = OutboxDir::open(theirs.as_deref().unwrap_or(&how.settings.outbox.dir))?;
        let ledger = SqliteOutbox::open(how.state_dir)?;
        // The row keeps the id as well: without it the daemon would give the file one of its own.
        let mut record = || ledger.submit(&id, submitted, how.now);
        spool.drop_message(&id, &mut content, &mut record).map(drop)
    };
    store().map_err(|failure| {
        if content.has_nul {
            return Answer::refused(
                65,
                "a NUL byte is in the message, which no mail server has to take: encode it",
            );
        }
        let denied = failure.detail.as_ref().is_some_and(|text| text.contains("ermission denied"));
        Answer::refused(if denied { 77 } else { failure.kind.exit_code() }, &failure.to_string())
    })?;
    let note = if how.daemon_runs {
        String::new()
    } else {
        format!(
            "postrider: queued as {id}; the daemon is not running: `postrider run` sends it, and \
             `postrider sync` does\n"
        )
    };
    Ok((id, note))
}

/// Gives a message `author` for its From where it has none, and a header where it is nothing but text.
fn complete(head: &mut Vec<u8>, author: Option<String>) {
    let header = Header::parse(head);
    let Some(author) = author.filter(|_| !head.is_empty()) else { return };
    if header.has_fields() {
        if matches!(header.author(), Ok(None)) {
            choose(head, &[("From", author)]);
        }
    } else {
        let begins_empty = head.starts_with(b"\n") || head.starts_with(b"\r\n");
        let end = if begins_empty { "" } else { "\n" };
        head.splice(0..0, format!("From: {author}\n{end}").into_bytes());
    }
}

/// Stops at a NUL byte.
struct Clean<R> {
    input: R,
    has_nul: bool,
}

impl<R: Read> Read for Clean<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.input.read(buffer)?;
        if memchr::memchr(0, buffer.get(..n).unwrap_or_default()).is_some() {
            self.has_nul = true;
            return Err(std::io::Error::other("a NUL byte"));
        }
        Ok(n)
    }
}

/// The address of the account that is named, or of the only one that sends.
pub fn own_address(how: &Spooling<'_>, account: Option<&str>) -> Option<String> {
    let all = sending(how.settings).into_iter();
    let mut fitting = all.filter(|one| account.is_none_or(|name| one.name.as_str() == name));
    let first = fitting.next()?;
    fitting.next().is_none().then_some(first.address)
}

/// Returns the addresses of an argument.
///
/// # Errors
///
/// The answer that says why one cannot be used; 67 for a local name.
pub fn recipients(text: &str) -> Result<Vec<Address>, Answer> {
    let all = addresses(text).into_iter().map(|found| {
        found.map_err(|bad| {
            if bad.contains('@') || bad.contains(char::is_whitespace) {
                Answer::refused(65, &format!("address {bad:?} cannot be used: correct it"))
            } else {
                Answer::refused(67, &local_name(&bad))
            }
        })
    });
    all.collect()
}

/// Refuses now what the daemon would refuse later, while somebody still listens.
fn check(how: &Spooling<'_>, submitted: &Submitted, header: &Header) -> Result<(), Answer> {
    let refuse = |why: &Unsendable| {
        let error_name = why.error_name();
        let code = match why {
            Unsendable::BadAddress(text) if !text.contains('@') => 67,
            Unsendable::NoAccount(_) | Unsendable::NoSuchAccount(..) => 67,
            Unsendable::NoHeader
            | Unsendable::HeaderTooBig
            | Unsendable::NoSender
            | Unsendable::NoRecipients
            | Unsendable::BadAddress(_) => 65,
        };
        let why = match why {
            Unsendable::BadAddress(text) if code == 67 => local_name(text),
            Unsendable::NoHeader
            | Unsendable::HeaderTooBig
            | Unsendable::NoSender
            | Unsendable::NoRecipients
            | Unsendable::NoAccount(_)
            | Unsendable::NoSuchAccount(..)
            | Unsendable::BadAddress(_) => why.explain(),
        };
        Answer { name: error_name, ..Answer::refused(code, &why) }
    };
    if !header.has_fields() {
        let why = "the message has no header: begin with From: and To: lines and an empty one";
        return Err(Answer { name: Unsendable::NoHeader.error_name(), ..Answer::refused(65, why) });
    }
    let wishes = header.wishes();
    let envelope = header.envelope(Some(submitted), &wishes).map_err(|why| refuse(&why))?;
    let accounts = sending(how.settings);
    let author = header.author().map_err(|why| refuse(&why))?.or(envelope.sender);
    let known = match (&wishes.account, &author) {
        (Some(name), _) => accounts.iter().any(|account| account.name == *name),
        (None, Some(author)) => account_for(author, &accounts).is_some(),
        (None, None) => false,
    };
    if known {
        return Ok(());
    }
    if let Some(name) = wishes.account {
        let all = accounts.iter().map(|one| one.name.to_string()).collect();
        return Err(refuse(&Unsendable::NoSuchAccount(name.0, all)));
    }
    let rests = author.as_ref().and_then(|from| account_for(from, &resting(how.settings)).cloned());
    if let Some(name) = rests {
        let why = format!("account {name} is not enabled: set enabled = true in [account.{name}]");
        return Err(Answer { name: "NoAccountForSender", ..Answer::refused(67, &why) });
    }
    let from = author.map_or_else(|| "<>".to_owned(), |from| from.as_str().to_owned());
    Err(refuse(&Unsendable::NoAccount(from)))
}

fn local_name(text: &str) -> String {
    format!(
        "{text:?} is a local name, and postrider delivers nothing on this machine: \
         write the whole address, name@domain"
    )
}

/// Puts the caller's choices on top, as the control headers that never leave.
fn choose(head: &mut Vec<u8>, wishes: &[(&str, String)]) {
    if wishes.is_empty() {
        return;
    }
    if head.starts_with(b"From ") {
        let end = head.iter().position(|byte| *byte == b'\n').map_or(head.len(), |at| at + 1);
        head.drain(..end);
    }
    let mut text = String::new();
    for (name, value) in wishes {
        let value: String = value.chars().filter(|c| !c.is_control()).collect();
        text.push_str(&format!("{name}: {value}\n"));
    }
    head.splice(0..0, text.into_bytes());
}

const HEAD_BYTES: u64 = 1024 * 1024;
