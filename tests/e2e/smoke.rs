//! The fixtures themselves.

use crate::fixture::{bus::Bus, certs, shared};
use crate::fixture::*;

#[test]
fn servers_start_and_answer() {
    let servers = shared::servers();
    let mut imap = servers.dovecot.client("smoke");
    imap.create("a &- b/c");
    let uid = imap.append("a &- b/c", "\\Seen", 1_000_000_000, b"Subject: x\r\n\r\ny\r\n");
    imap.store("a &- b/c", uid, "+FLAGS (\\Flagged)");
    println!("{:?}", imap.messages("a &- b/c"));
    println!("{:?}", imap.fingerprint());
    imap.expunge("a &- b/c", uid);
    assert_eq!(imap.count("a &- b/c"), 0);
    let bus = Bus::start();
    println!("{:?}", bus.busctl(&["list"]));
    std::thread::sleep(std::time::Duration::from_secs(1));
    println!("{}", servers.postfix.log());
    println!("{}", servers.dovecot.log());
    let mut rng = fastrand::Rng::with_seed(1);
    let t = std::time::Instant::now();
    for n in 0..2000 { imap.append("INBOX", "", 1_000_000_000+n as i64, &mail::mixed(&mut rng, n)); }
    println!("2000 in {:?}", t.elapsed());
    let t = std::time::Instant::now();
    let m = imap.messages("INBOX");
    println!("{} read {} bytes in {:?}", m.len(), m.iter().map(|m| m.bytes.len()).sum::<usize>(), t.elapsed());
    let (c, s) = (servers.postfix.port, &servers.postfix.certs);
    println!("{}", String::from_utf8_lossy(&std::process::Command::new("python3").args(["-c", &format!("
import smtplib,ssl
s=smtplib.SMTP('localhost',{c}); s.ehlo(); c=ssl.create_default_context(cafile='{}'); s.starttls(context=c)
s.login('u','{PASSWORD}')
print(s.sendmail('a@b.c',['x@example.net','y@example.org','refused@example.net'],b'Subject: hi\\r\\n\\r\\nx\\r\\n'))
", s.ca.display())]).output().map(|o| [o.stdout,o.stderr].concat()).unwrap()));
    let got = eventually("mail", SOON, || { let a = servers.postfix.accepted("Subject: hi"); (a.len() == 2).then_some(a) });
    println!("{got:?}");
}
