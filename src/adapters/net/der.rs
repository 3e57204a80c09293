//! Cuts the SubjectPublicKeyInfo out of a certificate, for pins. Floor 3.
//!
//! A walker over DER (X.690), not a parser of X.509: it checks nothing but the outline of
//! RFC 5280 §4.1, since the TLS library has accepted the certificate before.

/// Returns the whole SubjectPublicKeyInfo element of a DER certificate, header included.
pub(super) fn public_key_info(certificate: &[u8]) -> Option<&[u8]> {
    let outer = Element::first(certificate)?.with_tag(SEQUENCE)?;
    let mut fields = Element::first(outer.content)?.with_tag(SEQUENCE)?.content;
    if Element::first(fields)?.tag == VERSION {
        fields = Element::first(fields)?.rest;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        // serial number, signature algorithm, issuer, validity, subject
        fields = Element::first(fields)?.with_tag(tag)?.rest;
    }
    Some(Element::first(fields)?.with_tag(SEQUENCE)?.whole)
}

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Element<'a> {
    fn first(input: &'a [u8]) -> Option<Self> {
        let (&tag, after) = input.split_first()?;
        let (&first, after) = after.split_first()?;
        let (length, after) = if first < 0x80 {
            (usize::from(first), after)
        } else {
            let (digits, after) = after.split_at_checked(usize::from(first & 0x7f))?;
            if digits.is_empty() || digits.len() > 4 {
                return None;
            }
            (digits.iter().fold(0, |sum, digit| (sum << 8) | usize::from(*digit)), after)
        };
        let (content, rest) = after.split_at_checked(length)?;
        let whole = input.get(..input.len() - rest.len())?;
        Some(Self { tag, content, whole, rest })
    }

    fn with_tag(self, tag: u8) -> Option<Self> {
        (self.tag == tag).then_some(self)
    }
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::PublicKeyData;

    #[test]
    fn key_info_of_a_certificate_is_the_one_it_was_made_with() {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned()];
        let cert = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        assert_eq!(public_key_info(cert.der()), Some(key.subject_public_key_info().as_slice()));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_walked_without_panic(bytes: Vec<u8>) {
            let _found = public_key_info(&bytes);
        }

        #[test]
        fn a_cut_certificate_has_no_key_info(cut in 0_usize..200) {
            let key = rcgen::KeyPair::generate().unwrap();
            let cert = rcgen::CertificateParams::default().self_signed(&key).unwrap();
            proptest::prop_assert_eq!(public_key_info(&cert.der()[..cut]), None);
        }
    }
}
