//! The few commands that the codec does not know whole (LIST with options, STATUS, APPEND with
//! several messages), as a flat list of tokens.

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    Open,
    Close,
    Atom(Vec<u8>),
    Quoted(Vec<u8>),
    Literal(Vec<u8>),
}

impl Token {
    /// Returns the bytes of an atom or string.
    pub(crate) fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Atom(t) | Self::Quoted(t) | Self::Literal(t) => Some(t),
            Self::Open | Self::Close => None,
        }
    }

    pub(crate) fn is_atom(&self, word: &str) -> bool {
        matches!(self, Self::Atom(t) if t.eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// Splits the bytes of a command after its name; `None` if they are not well formed.
pub(crate) fn tokens(mut input: &[u8]) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    while let Some((first, rest)) = input.split_first() {
        input = match first {
            b' ' | b'\r' | b'\n' => rest,
            b'(' => push(&mut found, Token::Open, rest),
            b')' => push(&mut found, Token::Close, rest),
            b'"' => {
                let (text, rest) = quoted(rest)?;
                push(&mut found, Token::Quoted(text), rest)
            }
            b'{' | b'~' => {
                let (text, rest) = literal(input)?;
                push(&mut found, Token::Literal(text.to_vec()), rest)
            }
            _ => {
                let end = input.iter().position(|b| b" ()\"\r\n".contains(b));
                let (text, rest) = input.split_at(end.unwrap_or(input.len()));
                push(&mut found, Token::Atom(text.to_vec()), rest)
            }
        };
    }
    Some(found)
}

fn push<'a>(found: &mut Vec<Token>, token: Token, rest: &'a [u8]) -> &'a [u8] {
    found.push(token);
    rest
}

fn quoted(input: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut text = Vec::new();
    let mut at = 0;
    loop {
        match input.get(at)? {
            b'"' => return Some((text, input.get(at + 1..)?)),
            b'\\' => {
                at += 1;
                text.push(*input.get(at)?);
            }
            b'\r' | b'\n' => return None,
            other => text.push(*other),
        }
        at += 1;
    }
}

fn literal(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = input.windows(2).position(|pair| pair == b"\r\n")?;
    let (line, rest) = input.split_at(end);
    let (length, _) = literal_suffix(line)?;
    let rest = rest.get(2..)?;
    let length = length as usize;
    (rest.len() >= length).then(|| rest.split_at(length))
}

/// Returns the length of the literal that the line announces at its end, and whether the sender
/// waits for a continuation.
pub(crate) fn literal_suffix(line: &[u8]) -> Option<(u32, bool)> {
    let inner = line.strip_suffix(b"}")?;
    let start = inner.iter().rposition(|b| *b == b'{')?;
    let digits = inner.get(start + 1..)?;
    let (digits, waits) = match digits.strip_suffix(b"+") {
        Some(digits) => (digits, false),
        None => (digits, true),
    };
    let number = std::str::from_utf8(digits).ok()?;
    number.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
    Some((number.parse().ok()?, waits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_all_kinds_are_split() {
        let found = tokens(b" {3}\r\na b (\\Seen $x) \"q \\\" q\" {2+}\r\n\r\n\r\n").unwrap();
        let expected = [
            Token::Literal(b"a b".to_vec()),
            Token::Open,
            Token::Atom(b"\\Seen".to_vec()),
            Token::Atom(b"$x".to_vec()),
            Token::Close,
            Token::Quoted(b"q \" q".to_vec()),
            Token::Literal(b"\r\n".to_vec()),
        ];
        assert_eq!(found, expected);
        assert_eq!(tokens(b"\"open"), None);
        assert_eq!(literal_suffix(b"a LOGIN {10+}"), Some((10, false)));
        assert_eq!(literal_suffix(b"a LOGIN {x}"), None);
    }
}
