//! `postrider sendmail -bs`: SMTP on stdin and stdout, for programs that speak nothing else. Floor 5.
//!
//! One dialogue at a time and no network: every message that gets a 250 is durable in the outbox.

use std::io::{self, BufRead, Read, Write};

use crate::daemon::spool::{Answer, Spooling, spool};
use crate::model::outbox::{Address, Submitted};

/// Speaks until QUIT or the end of the input. Each message gets a fresh `how`, so that its id is its own.
///
/// # Errors
///
/// When the other side cannot be read or written.
pub(super) fn converse<'a>(
    how: &dyn Fn() -> Spooling<'a>,
    wishes: &[(&'static str, String)],
    input: &mut dyn BufRead,
    output: &mut dyn Write,
) -> io::Result<()> {
    let mut dialogue = Dialogue { how, wishes, transaction: None };
    say(output, "220 localhost ESMTP postrider")?;
    loop {
        let (line, ends_in_crlf) = match line(input)? {
            Line::End => return Ok(()),
            Line::TooLong => {
                say(output, "500 5.5.2 line too long")?;
                continue;
            }
            Line::Text(line, ends_in_crlf) => (line, ends_in_crlf),
        };
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                dialogue.transaction = None;
                "250-localhost\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n\
                 250-DSN\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE"
                    .to_owned()
            }
            "HELO" | "RSET" => {
                dialogue.transaction = None;
                "250 2.0.0 ok".to_owned()
            }
            "MAIL" => dialogue.mail(rest),
            "RCPT" => dialogue.rcpt(rest),
            "DATA" => dialogue.data(ends_in_crlf, input, output)?,
            "NOOP" => "250 2.0.0 ok".to_owned(),
            "HELP" => {
                "214 2.0.0 MAIL, RCPT, DATA, RSET, NOOP, QUIT; see postrider-sendmail(1)".to_owned()
            }
            "EXPN" => "502 5.5.1 no lists are kept here".to_owned(),
            "VRFY" => "252 2.5.0 send some mail, I will try".to_owned(),
            "QUIT" => return say(output, "221 2.0.0 bye"),
            _ => "500 5.5.2 unknown command".to_owned(),
        };
        say(output, &answer)?;
    }
}

/// What MAIL and RCPT said.
struct Transaction {
    sender: Option<Address>,
    recipients: Vec<Address>,
    ret: String,
    notify: String,
}

struct Dialogue<'d, 'a> {
    how: &'d dyn Fn() -> Spooling<'a>,
    wishes: &'d [(&'static str, String)],
    transaction: Option<Transaction>,
}

impl Dialogue<'_, '_> {
    fn mail(&mut self, rest: &str) -> String {
        let Some((path, parameters)) = path(rest, "FROM:") else {
            return "501 5.5.4 MAIL FROM:<address>".to_owned();
        };
        if self.transaction.is_some() {
            return "503 5.5.1 RSET first".to_owned();
        }
        let sender = if path.is_empty() { None } else { Address::new(path) };
        if sender.is_none() && !path.is_empty() {
            return "553 5.1.7 that address cannot be used".to_owned();
        }
        let words = parameters.split_ascii_whitespace();
        let (mut ret, mut bad) = (String::new(), None);
        for word in words {
            let key = word.split('=').next().unwrap_or_default().to_ascii_uppercase();
            match key.as_str() {
                "RET" | "ENVID" => ret.push_str(&format!("{word};")),
                "SIZE" | "BODY" | "SMTPUTF8" | "AUTH" => {}
                _ => bad = Some(key),
            }
        }
        if bad.is_some() {
            return "555 5.5.4 unknown parameter".to_owned();
        }
        let recipients = Vec::new();
        self.transaction = Some(Transaction { sender, recipients, ret, notify: String::new() });
        "250 2.1.0 ok".to_owned()
    }

    fn rcpt(&mut self, rest: &str) -> String {
        let Some(transaction) = &mut self.transaction else {
            return "503 5.5.1 MAIL first".to_owned();
        };
        let Some((path, parameters)) = path(rest, "TO:") else {
            return "501 5.5.4 RCPT TO:<address>".to_owned();
        };
        if transaction.recipients.len() >= RECIPIENTS_MAX {
            return "452 4.5.3 too many recipients".to_owned();
        }
        let Some(recipient) = Address::new(path) else {
            return "550 5.1.3 not a whole address, name@domain: nothing is delivered on this machine"
                .to_owned();
        };
        for word in parameters.split_ascii_whitespace() {
            if word.get(..7).is_some_and(|key| key.eq_ignore_ascii_case("NOTIFY=")) {
                word.clone_into(&mut transaction.notify);
            }
        }
        transaction.recipients.push(recipient);
        "250 2.1.5 ok".to_owned()
    }

    fn data(
        &mut self,
        ends_in_crlf: bool,
        input: &mut dyn BufRead,
        output: &mut dyn Write,
    ) -> io::Result<String> {
        match &self.transaction {
            None => return Ok("503 5.5.1 MAIL first".to_owned()),
            Some(transaction) if transaction.recipients.is_empty() => {
                return Ok("554 5.5.1 no valid recipients".to_owned());
            }
            Some(_) => {}
        }
        let Some(transaction) = self.transaction.take() else { return Ok(String::new()) };
        say(output, "354 end with a dot")?;
        let mut body = Body::new(input, ends_in_crlf);
        let given = Submitted {
            sender: Some(transaction.sender),
            recipients: transaction.recipients,
            from_header: false,
        };
        let dsn = format!("{}{}", transaction.ret, transaction.notify);
        let mut wishes = self.wishes.to_vec();
        wishes.extend((!dsn.is_empty()).then_some(("X-Postrider-DSN", dsn)));
        let spooled = spool(&(self.how)(), &given, &wishes, &mut body);
        // What was refused early still comes, up to its dot.
        if !body.is_over {
            io::copy(&mut body, &mut io::sink())?;
        }
        Ok(match spooled {
            Ok((id, _)) => format!("250 2.0.0 queued as {id}"),
            Err(answer) => refusal(&answer),
        })
    }
}

fn refusal(answer: &Answer) -> String {
    let code = match answer.code {
        65 => "554 5.6.0",
        67 => "550 5.1.8",
        _ => "451 4.3.0",
    };
    let why = answer.err.trim().trim_start_matches("postrider: ");
    format!("{code} {}", crate::model::failure::server_words(why))
}

/// The lines up to the lone dot, without the dots that hid their first one, with LF line ends. An input that
/// ends before the dot is an error, so that half a message is never queued.
///
/// Whoever ends his commands with CRLF doubles dots behind CRLF only: a dot behind a bare LF is text.
struct Body<'a> {
    input: &'a mut dyn BufRead,
    line: Vec<u8>,
    at: usize,
    is_over: bool,
    ends_in_crlf: bool,
    /// Whether what follows begins a line, as the other side counts them.
    begins: bool,
}

impl<'a> Body<'a> {
    fn new(input: &'a mut dyn BufRead, ends_in_crlf: bool) -> Self {
        Self { input, line: Vec::new(), at: 0, is_over: false, ends_in_crlf, begins: true }
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.line.len() {
            if self.is_over {
                return Ok(0);
            }
            self.line.clear();
            self.at = 0;
            let limited = &mut Read::take(&mut *self.input, LINE_BYTES_MAX);
            if limited.read_until(b'\n', &mut self.line)? == 0 {
                self.is_over = true;
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let has_crlf = self.line.ends_with(b"\r\n");
            if self.begins {
                if self.line == b".\r\n" || self.line == b".\n" && !self.ends_in_crlf {
                    self.is_over = true;
                    self.line.clear();
                    return Ok(0);
                }
                self.at = usize::from(self.line.starts_with(b"."));
            }
            self.begins = if self.ends_in_crlf { has_crlf } else { self.line.ends_with(b"\n") };
            if has_crlf {
                self.line.truncate(self.line.len().saturating_sub(2));
                self.line.push(b'\n');
            }
        }
        let mut rest = self.line.get(self.at..).unwrap_or_default();
        let n = rest.read(buffer)?;
        self.at += n;
        Ok(n)
    }
}

enum Line {
    /// The command, and whether CRLF ended it.
    Text(String, bool),
    TooLong,
    End,
}

/// One command without its line end.
fn line(input: &mut dyn BufRead) -> io::Result<Line> {
    let mut bytes = Vec::new();
    Read::take(&mut *input, COMMAND_BYTES_MAX).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(Line::End);
    }
    if bytes.ends_with(b"\n") {
        let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        return Ok(Line::Text(text, bytes.ends_with(b"\r\n")));
    }
    let mut rest = Vec::new();
    while !rest.ends_with(b"\n") {
        rest.clear();
        if Read::take(&mut *input, COMMAND_BYTES_MAX).read_until(b'\n', &mut rest)? == 0 {
            return Ok(Line::End);
        }
    }
    Ok(Line::TooLong)
}

/// Parses `FROM:<address> parameters`; the address is in the brackets that count, not in a quoted one.
fn path<'t>(text: &'t str, prefix: &str) -> Option<(&'t str, &'t str)> {
    let (head, rest) = text.trim_start().split_at_checked(prefix.len())?;
    let rest = rest.trim_start().strip_prefix('<').filter(|_| head.eq_ignore_ascii_case(prefix))?;
    let (mut quoted, mut escaped) = (false, false);
    let end = rest.char_indices().find_map(|(at, c)| {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => return Some(at),
            _ => {}
        }
        None
    })?;
    let (address, parameters) = rest.split_at_checked(end)?;
    Some((address, parameters.get(1..)?.trim()))
}

fn say(output: &mut dyn Write, text: &str) -> io::Result<()> {
    write!(output, "{text}\r\n")?;
    output.flush()
}

const COMMAND_BYTES_MAX: u64 = 4096;
const LINE_BYTES_MAX: u64 = 64 * 1024;
const RECIPIENTS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> (io::Result<Vec<u8>>, String) {
        body_of(text, true)
    }

    fn body_of(text: &str, ends_in_crlf: bool) -> (io::Result<Vec<u8>>, String) {
        let mut input = text.as_bytes();
        let mut body = Body::new(&mut input, ends_in_crlf);
        let mut out = Vec::new();
        let read =
            body.read_to_end(&mut out).and_then(|_| io::copy(&mut body, &mut out)).map(|_| out);
        (read, String::from_utf8_lossy(input).into_owned())
    }

    #[test]
    fn a_message_ends_at_its_dot_and_nowhere_else() {
        let (read, rest) = body("a\r\n..b\r\n.c\n\r\n.\r\nQUIT\r\n");
        assert_eq!((read.unwrap().as_slice(), rest.as_str()), (&b"a\n.b\nc\n\n"[..], "QUIT\r\n"));
        assert!(body("a\r\nb\r\n").0.is_err(), "an end without a dot is no message");
        assert_eq!(body(".\r\nx").0.unwrap(), b"");
    }

    #[test]
    fn a_dot_behind_a_bare_lf_ends_nothing_where_lines_end_in_crlf() {
        let (read, rest) = body("a\n.\r\nMAIL\n.\n..b\r\n.\r\nQUIT\r\n");
        let text = "a\n.\nMAIL\n.\n..b\n";
        assert_eq!((read.unwrap().as_slice(), rest.as_str()), (text.as_bytes(), "QUIT\r\n"));
        let (read, rest) = body_of("a\n..b\n.\nQUIT\n", false);
        assert_eq!((read.unwrap().as_slice(), rest.as_str()), (&b"a\n.b\n"[..], "QUIT\n"));
    }

    #[test]
    fn paths_are_taken_out_of_their_brackets() {
        assert_eq!(path("FROM:<a@b> SIZE=1", "FROM:"), Some(("a@b", "SIZE=1")));
        assert_eq!(path("to: <\"a>b\"@c>", "TO:"), Some(("\"a>b\"@c", "")));
        assert_eq!(path("FROM:<>", "FROM:"), Some(("", "")));
        assert_eq!(path("FROM:a@b", "FROM:"), None);
    }
}
