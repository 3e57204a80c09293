//! The connection ends after any number of bytes of ours.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::tests::{Gate, Script, address, endpoint};
use super::*;
use crate::model::outbox::{Dsn, Envelope};

/// A server that ends the connection when it has read `limit` bytes. Answers all that it read.
async fn peer(limit: usize) -> (u16, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let (script, mut heard, mut done, mut in_data) = (Script::default(), Vec::new(), 0, false);
        tcp.write_all(script.reply("greeting").as_bytes()).await.unwrap();
        while heard.len() < limit {
            let mut byte = [0];
            if tcp.read(&mut byte).await.unwrap_or(0) == 0 {
                break;
            }
            heard.push(byte[0]);
            let line = heard[done..].strip_suffix(b"\r\n").map(<[u8]>::to_vec);
            let Some(line) = line else { continue };
            done = heard.len();
            let text = String::from_utf8_lossy(&line).into_owned();
            if in_data && text != "." {
                continue;
            }
            in_data = text == "DATA";
            if tcp.write_all(script.reply(&text).as_bytes()).await.is_err() {
                break;
            }
        }
        heard
    });
    (port, task)
}

#[tokio::test]
async fn cut_after_any_byte_of_ours_the_doubt_is_exactly_what_the_gate_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m");
    std::fs::write(&path, "From: me@example.com\n\nLine\n.\nEnd\n").unwrap();
    let account = AccountName("work".to_owned());
    let envelope = Envelope {
        sender: Some(address("me@example.com")),
        recipients: vec![address("a@x.org"), address("b@x.org")],
    };
    let job = Job {
        account: account.clone(),
        path,
        skip: Vec::new(),
        envelope,
        dsn: Dsn::default(),
        utf8_header: false,
    };
    let (mut n_before, mut n_after) = (0, 0);
    for limit in 1.. {
        let (port, task) = peer(limit).await;
        let relay = SmtpRelay::new(BTreeMap::from([(account.clone(), endpoint(port))]));
        let gate = Gate { opened: AtomicBool::new(false), jammed: false };
        let ended = relay.submit(&job, &gate).await;
        drop(relay);
        let heard = task.await.unwrap();
        let has_all = memchr::memmem::find(&heard, b"\r\nEnd\r\n.\r\n").is_some();
        let opened = gate.opened.load(Ordering::SeqCst);
        match ended {
            Ok(_) => {
                assert!(has_all, "accepted after {limit} bytes");
                break;
            }
            Err(broken) => {
                assert_eq!(broken.after_dot, opened, "{limit} bytes: {}", broken.failure);
                assert!(
                    opened || !has_all,
                    "{limit} bytes: the server has it and the gate is shut"
                );
                n_before += usize::from(!opened);
                n_after += usize::from(opened);
            }
        }
    }
    assert!(n_before > 50 && n_after >= 2, "{n_before} before the dot, {n_after} behind it");
}
