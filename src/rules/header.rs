//! The little that is ever read of a message: its Message-ID, as a hint. Floor 1.

/// Finds the Message-ID (RFC 5322 §3.6.4) in the header of a message, with its brackets; empty if
/// there is none. Line ends may be LF or CRLF; the body is never looked at.
pub fn message_id(message: &[u8]) -> String {
    let mut value: Option<Vec<u8>> = None;
    for line in message.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let is_folded = line.first().is_some_and(|b| matches!(b, b' ' | b'\t'));
        match (&mut value, is_folded) {
            (Some(value), true) => value.extend_from_slice(line),
            (Some(_), false) => break,
            (None, _) => value = field_value(line, b"message-id"),
        }
    }
    let text = String::from_utf8_lossy(&value.unwrap_or_default()).into_owned();
    let trimmed: String = text.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect();
    trimmed
}

fn field_value(line: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let colon = line.iter().position(|b| *b == b':')?;
    let key = line.get(..colon)?.trim_ascii_end();
    let value = line.get(colon.saturating_add(1)..)?;
    key.eq_ignore_ascii_case(name).then(|| value.to_vec())
}

#[cfg(test)]
mod tests {
    use super::message_id;

    #[test]
    fn the_header_alone_is_read() {
        assert_eq!(message_id(b"From: a\nMessage-ID: <1@x>\n\nMessage-ID: <2@x>\n"), "<1@x>");
        assert_eq!(message_id(b"message-id:\r\n <1@x>\r\nTo: b\r\n\r\n"), "<1@x>");
        assert_eq!(message_id(b"From: a\n\nMessage-ID: <2@x>\n"), "");
        assert_eq!(message_id(b""), "");
        assert_eq!(message_id(b"\xff\xfe\0"), "");
    }
}
