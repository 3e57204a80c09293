//! What is remembered of a server whose settings leave something open: a small file. Floor 3.
//!
//! A file that is lost or damaged only means that all is tried out again.

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::adapters::private_file;
use crate::model::account::{Mechanism, Tls};
use crate::model::automatic::{Memory, Way};

#[derive(Serialize, Deserialize)]
struct File {
    host: String,
    port: Option<u16>,
    tls: Option<String>,
    user: Option<String>,
    auth: Option<String>,
    #[serde(default)]
    refused: Vec<String>,
}

/// What is remembered; nothing if there is no file that can be read.
pub fn recall(file: &Path) -> Memory {
    let read = || -> Option<Memory> {
        serde_json::from_str(&private_file::read(file).ok()??).ok().map(memory)
    };
    read().unwrap_or_default()
}

/// [`recall`] where nothing may block.
pub(super) async fn recalled(file: &Path) -> Memory {
    let file = file.to_owned();
    spawn_blocking(move || recall(&file)).await.unwrap_or_default()
}

/// Remembers. That it cannot be written down costs another trial, and is no reason to fail.
pub(super) async fn keep(file: &Path, memory: &Memory) {
    let (file, text) = (file.to_owned(), text(memory));
    let written = spawn_blocking(move || write(&file, &text)).await;
    if let Err(err) = written.map_err(io::Error::other).flatten() {
        tracing::warn!(%err, "what was found out about the server is not remembered");
    }
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    // One at a time of this process; other processes have other drafts.
    static WRITING: Mutex<()> = Mutex::new(());
    let _one = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let draft = file.with_extension(format!("{}.new", std::process::id()));
    private_file::write(file, &draft, text.as_bytes())
}

fn memory(file: File) -> Memory {
    let tls = file.tls.as_deref().and_then(Tls::from_name);
    let way = file.port.zip(tls).map(|(port, tls)| Way { port, tls });
    let auth = file.auth.as_deref().and_then(Mechanism::from_name);
    Memory { host: file.host, way, user: file.user, auth, refused: file.refused }
}

fn text(memory: &Memory) -> String {
    let file = File {
        host: memory.host.clone(),
        port: memory.way.map(|way| way.port),
        tls: memory.way.map(|way| way.tls.as_str().to_owned()),
        user: memory.user.clone(),
        auth: memory.auth.map(|auth| auth.as_str().to_owned()),
        refused: memory.refused.clone(),
    };
    serde_json::to_string(&file).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_found_is_read_again_and_what_is_damaged_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("servers/imap/work.json");
        assert_eq!(recall(&file), Memory::default());
        let memory = Memory {
            host: "h".to_owned(),
            way: Some(Way { port: 143, tls: Tls::StartTls }),
            user: Some("me".to_owned()),
            auth: Some(Mechanism::ScramSha256),
            refused: vec!["me@x".to_owned()],
        };
        keep(&file, &memory).await;
        assert_eq!(recalled(&file).await, memory);
        let text = std::fs::read_to_string(&file).unwrap();
        let half: String = text.chars().take(text.len() / 2).collect();
        for damaged in [half.as_str(), "", "{}", "[1]"] {
            std::fs::write(&file, damaged).unwrap();
            assert_eq!(recall(&file), Memory::default(), "{damaged}");
        }
        keep(&file, &memory).await;
        assert_eq!(recall(&file), memory);
        assert_eq!(
            std::fs::read_dir(file.parent().unwrap()).unwrap().count(),
            1,
            "a draft is left"
        );
    }
}
