//! `postrider sendmail ARGS`: what mail programs, git and cron call as `sendmail`. Floor 5.
//!
//! Options that have no meaning here are accepted, as every replacement of sendmail does. A lone dot
//! never ends the message: too many callers forget `-i`.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::daemon::spool::{Answer, Spooling, own_address, recipients, spool_as};
use crate::model::ids::OutboxId;
use crate::model::outbox::{Address, Dsn, Submitted};

/// What the arguments ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sendmail {
    /// It is done; this is the answer.
    Done(Answer),
    /// Show the queue (`-bp`, `mailq`).
    List,
    /// Speak SMTP on stdin and stdout (`-bs`); each message gets these control fields.
    Dialogue(Vec<(&'static str, String)>),
    /// Try queued messages now (`-q`); none named means all.
    Flush(Vec<OutboxId>),
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Parsed {
    sender: Option<String>,
    account: Option<String>,
    /// `-F`: the sender's name, for a message without From.
    full_name: Option<String>,
    recipients: Vec<String>,
    from_header: bool,
    /// What `-N`, `-R` and `-V` ask for, as the control header has it.
    dsn: Vec<String>,
    mode: Mode,
    flush: Option<Vec<OutboxId>>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Submit,
    List,
    Aliases,
    Dialogue,
    Unsupported(String),
}

/// Does what `sendmail` does with these arguments, without the program's name.
pub fn sendmail(how: &Spooling<'_>, args: &[String], input: &mut dyn Read) -> Sendmail {
    let parsed = match parse(args) {
        Ok(parsed) => parsed,
        Err(why) => return Sendmail::Done(Answer::refused(64, &why)),
    };
    match &parsed.mode {
        Mode::List => return Sendmail::List,
        Mode::Aliases => return Sendmail::Done(Answer::default()),
        Mode::Dialogue => return Sendmail::Dialogue(wishes(&parsed)),
        Mode::Unsupported(mode) => {
            let why = format!("-b{mode} is not supported: give the message on stdin, or use -bs");
            return Sendmail::Done(Answer::refused(64, &why));
        }
        Mode::Submit => {}
    }
    if let Some(ids) = parsed.flush {
        return Sendmail::Flush(ids);
    }
    if let Some(name) = parsed.account.as_ref().filter(|name| !sends(how, name)) {
        return Sendmail::Done(Answer::refused(
            67,
            &format!("-a {name:?}: no account of this name sends"),
        ));
    }
    if parsed.recipients.is_empty() && !parsed.from_header {
        let why = "no recipients: name them, or take those of the header with -t";
        return Sendmail::Done(Answer::refused(64, why));
    }
    let spooled = submitted(&parsed).and_then(|given| {
        let author = author(how, &parsed, &given);
        spool_as(how, &given, &wishes(&parsed), author, input)
    });
    Sendmail::Done(match spooled {
        Ok((_, err)) => Answer { err, ..Answer::default() },
        Err(answer) => answer,
    })
}

/// The From of a message that has none: the sender of `-f`, else the account of `-a`, else the only one. Of
/// several none is chosen, since mail could leave from the wrong one.
fn author(how: &Spooling<'_>, parsed: &Parsed, given: &Submitted) -> Option<String> {
    let sender = given.sender.clone().flatten();
    let address = sender.as_ref().map(Address::as_str).map(str::to_owned);
    let address = address.or_else(|| own_address(how, parsed.account.as_deref()))?;
    Some(match parsed.full_name.as_deref().and_then(phrase) {
        Some(name) => format!("{name} <{address}>"),
        None => address,
    })
}

/// A name as a header has it (RFC 5322 §3.2.5, RFC 2047 §2); none when it is too long to be one.
fn phrase(name: &str) -> Option<String> {
    let name: String = name.trim().chars().filter(|c| !c.is_control()).collect();
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
    if name.is_ascii() {
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        return fits.then(|| format!("\"{quoted}\""));
    }
    fits.then(|| format!("=?UTF-8?B?{}?=", STANDARD.encode(name)))
}

fn sends(how: &Spooling<'_>, account: &str) -> bool {
    how.settings.accounts.values().any(|one| one.name.as_str() == account && one.smtp.is_some())
}

/// What of the arguments travels as control header fields.
fn wishes(parsed: &Parsed) -> Vec<(&'static str, String)> {
    let account = parsed.account.iter().map(|name| ("X-Postrider-Account", name.clone()));
    let dsn = (!parsed.dsn.is_empty()).then(|| ("X-Postrider-DSN", parsed.dsn.join("; ")));
    account.chain(dsn).collect()
}

fn submitted(parsed: &Parsed) -> Result<Submitted, Answer> {
    let sender = match parsed.sender.as_deref().map(str::trim) {
        None => None,
        Some("" | "<>") => Some(None),
        Some(text) => Some(Some(recipients(text)?.into_iter().next().ok_or_else(|| {
            Answer::refused(65, &format!("sender {text:?} is no address: correct -f"))
        })?)),
    };
    let mut all = Vec::new();
    for text in &parsed.recipients {
        all.extend(recipients(text)?);
    }
    Ok(Submitted { sender, recipients: all, from_header: parsed.from_header })
}

fn parse(args: &[String]) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--" => {
                parsed.recipients.extend(rest.by_ref().cloned());
            }
            "--read-recipients" => parsed.from_header = true,
            // The header's sender is what is used anyway when there is no -f.
            "--read-envelope-from" => {}
            long if long.starts_with("--") => parsed.long(long, &mut rest)?,
            short if short.len() > 1 && short.starts_with('-') => {
                parsed.short(short.trim_start_matches('-'), &mut rest)?;
            }
            recipient => parsed.recipients.push(recipient.to_owned()),
        }
    }
    let reports = parsed.dsn.join("; ");
    if !parsed.dsn.is_empty() && !Dsn::is_whole(&reports) {
        return Err(format!("{reports}: not what -N, -R or -V can ask for"));
    }
    Ok(parsed)
}

/// What one encoded word can hold (RFC 2047 §2).
const NAME_BYTES_MAX: usize = 45;

impl Parsed {
    fn long(&mut self, arg: &str, rest: &mut std::slice::Iter<'_, String>) -> Result<(), String> {
        let (name, given) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (arg, None),
        };
        let mut value = || given.clone().or_else(|| rest.next().cloned());
        match name {
            "--account" => self.account = Some(value().ok_or("--account needs a name")?),
            "--from" => self.sender = Some(value().ok_or("--from needs an address")?),
            _ => return Err(format!("unknown option {name}")),
        }
        Ok(())
    }

    /// A group of single letters; one with a value ends it.
    fn short(
        &mut self,
        group: &str,
        rest: &mut std::slice::Iter<'_, String>,
    ) -> Result<(), String> {
        let mut letters = group.chars();
        while let Some(letter) = letters.next() {
            let attached = letters.as_str().to_owned();
            let mut value = || {
                let given =
                    if attached.is_empty() { rest.next().cloned() } else { Some(attached.clone()) };
                given.ok_or_else(|| format!("option -{letter} needs a value"))
            };
            match letter {
                't' => self.from_header = true,
                'i' | 'n' | 'm' | 'G' | 'U' | 'v' | 'E' | 's' => {}
                'f' | 'r' => {
                    self.sender = Some(value()?);
                    return Ok(());
                }
                'a' => {
                    self.account = Some(value()?);
                    return Ok(());
                }
                'N' | 'R' | 'V' => {
                    let key = match letter {
                        'N' => "notify",
                        'R' => "ret",
                        _ => "envid",
                    };
                    self.dsn.push(format!("{key}={}", value()?));
                    return Ok(());
                }
                'F' => {
                    self.full_name = Some(value()?);
                    return Ok(());
                }
                'B' | 'X' | 'L' | 'h' | 'O' | 'C' | 'p' | 'o' => {
                    let _ignored = value()?;
                    return Ok(());
                }
                'A' | 'd' => return Ok(()),
                'b' => {
                    self.mode = match attached.as_str() {
                        "m" | "" => Mode::Submit,
                        "p" => Mode::List,
                        "i" => Mode::Aliases,
                        "s" => Mode::Dialogue,
                        other => Mode::Unsupported(other.to_owned()),
                    };
                    return Ok(());
                }
                'q' => {
                    let id = attached.strip_prefix('I').map(|id| OutboxId(id.to_owned()));
                    self.flush = Some(id.into_iter().collect());
                    return Ok(());
                }
                other => return Err(format!("unknown option -{other}")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "sendmail_tests.rs"]
mod tests;
