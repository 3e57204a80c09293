//! SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding.
//!
//! Names and passwords go in as they are: SASLprep changes none that is plain ASCII.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// One SCRAM conversation.
pub(super) struct Scram {
    nonce: String,
    first: String,
    expected: Option<Hmac<Sha256>>,
    verified: bool,
}

impl Scram {
    /// Begins; none when the system has no randomness to give.
    pub(super) fn new() -> Option<Self> {
        let mut random = [0; 18];
        let mut source = std::fs::File::open("/dev/urandom").ok()?;
        std::io::Read::read_exact(&mut source, &mut random).ok()?;
        Some(Self::with_nonce(STANDARD.encode(random)))
    }

    fn with_nonce(nonce: String) -> Self {
        Self { nonce, first: String::new(), expected: None, verified: false }
    }

    /// The client's first message.
    pub(super) fn first(&mut self, user: &str) -> Zeroizing<Vec<u8>> {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        self.first = format!("n={user},r={}", self.nonce);
        Zeroizing::new(format!("n,,{}", self.first).into_bytes())
    }

    /// The proof, as the answer to the server's first message; none when that is not to be trusted.
    pub(super) fn proof(
        &mut self,
        challenge: &str,
        password: &SecretString,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let mut parts = challenge.split(',');
        let nonce = parts.next()?.strip_prefix("r=")?;
        let salt = STANDARD.decode(parts.next()?.strip_prefix("s=")?).ok()?;
        let iterations: u32 = parts.next()?.strip_prefix("i=")?.parse().ok()?;
        let is_ours = nonce.len() > self.nonce.len() && nonce.starts_with(&self.nonce);
        if !is_ours || !(1..=ITERATIONS_MAX).contains(&iterations) {
            return None;
        }
        let salted = salted(password.expose_secret().as_bytes(), &salt, iterations)?;
        let client_key = Zeroizing::new(sign(&*salted, b"Client Key")?);
        let stored_key = Sha256::digest(*client_key);
        let bare = format!("c=biws,r={nonce}");
        let auth = format!("{},{challenge},{bare}", self.first);
        let signature = sign(&stored_key, auth.as_bytes())?;
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, sig)| key ^ sig).collect();
        let server_key = Zeroizing::new(sign(&*salted, b"Server Key")?);
        let mut expected = mac(&*server_key)?;
        expected.update(auth.as_bytes());
        self.expected = Some(expected);
        Some(Zeroizing::new(format!("{bare},p={}", STANDARD.encode(proof)).into_bytes()))
    }

    /// Checks that the server knows the password too; none when it does not prove it.
    pub(super) fn verify(&mut self, last: &str) -> Option<()> {
        let value = last.split(',').next()?.strip_prefix("v=")?;
        let signature = STANDARD.decode(value).ok()?;
        self.expected.take()?.verify_slice(&signature).ok()?;
        self.verified = true;
        Some(())
    }

    pub(super) fn is_verified(&self) -> bool {
        self.verified
    }
}

/// PBKDF2 with HMAC-SHA-256, one block (RFC 8018 §5.2).
fn salted(password: &[u8], salt: &[u8], iterations: u32) -> Option<Zeroizing<[u8; 32]>> {
    let keyed = mac(password)?;
    let mut block = keyed.clone();
    block.update(salt);
    block.update(&1_u32.to_be_bytes());
    let mut round: [u8; 32] = block.finalize().into_bytes().into();
    let mut sum = Zeroizing::new(round);
    for _ in 1..iterations {
        let mut next = keyed.clone();
        next.update(&round);
        round = next.finalize().into_bytes().into();
        for (sum, byte) in sum.iter_mut().zip(round) {
            *sum ^= byte;
        }
    }
    Some(sum)
}

fn sign(key: &[u8], text: &[u8]) -> Option<[u8; 32]> {
    let mut mac = mac(key)?;
    mac.update(text);
    Some(mac.finalize().into_bytes().into())
}

/// None never comes: HMAC takes keys of any length.
fn mac(key: &[u8]) -> Option<Hmac<Sha256>> {
    Hmac::new_from_slice(key).ok()
}

/// A server that asks for more wants to keep us busy.
const ITERATIONS_MAX: u32 = 600_000;

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                         s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn begun() -> Scram {
        let mut scram = Scram::with_nonce("rOprNGfwEbeRWgbNEkqO".to_owned());
        assert_eq!(&**scram.first("user"), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        scram
    }

    #[test]
    fn the_conversation_of_rfc_7677_is_spoken() {
        let mut scram = begun();
        let proof = scram.proof(FIRST, &"pencil".into()).unwrap();
        let wanted = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                      p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(std::str::from_utf8(&proof).unwrap(), wanted);
        assert!(!scram.is_verified());
        scram.verify("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
        assert!(scram.is_verified());
    }

    #[test]
    fn a_server_that_is_not_to_be_trusted_gets_no_proof() {
        for bad in [
            "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=600001",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0",
            "m=ext,r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
            "",
        ] {
            assert!(begun().proof(bad, &"pencil".into()).is_none(), "{bad}");
        }
        let mut scram = begun();
        drop(scram.proof(FIRST, &"pencil".into()).unwrap());
        assert_eq!(scram.verify("v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), None);
        assert_eq!(begun().verify("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), None);
        assert!(!scram.is_verified());
    }

    #[test]
    fn a_name_with_signs_of_the_protocol_is_escaped() {
        let mut scram = Scram::with_nonce("n".to_owned());
        assert_eq!(&**scram.first("a=b,c"), b"n,,n=a=3Db=2Cc,r=n");
    }
}
