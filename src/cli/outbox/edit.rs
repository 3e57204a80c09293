//! `postrider outbox edit ID`: a message in an editor. Beside floor 5.
//!
//! It is held meanwhile. The edited text replaces the file in one step, and only if the editor ended well;
//! the daemon reads envelope and account anew when the message is released.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::hand::Hand;
use super::{look, unknown_message};
use crate::cli::complaint::Complaint;
use crate::daemon::settings;

pub(super) async fn edit(
    config: Option<&Path>,
    hand: &Hand,
    id: &str,
) -> Result<String, Complaint> {
    let found = look(config, &[id.to_owned()]).await?;
    let Some(before) = found.first() else { return Err(unknown_message(id)) };
    match before.phase.as_str() {
        "queued" => hand.hold(&[id.to_owned()]).await?,
        "held" | "failed" => {}
        phase => {
            let text = format!("message {id} is {phase}: it cannot be edited any more");
            return Err(Complaint::plain(75, &text));
        }
    }
    let root = settings::load(&settings::locate(config))?.outbox.dir;
    let edited = in_editor(&root, id);
    match (&edited, before.phase.as_str()) {
        (_, "queued") if !before.is_scheduled() => {
            hand.release(&[id.to_owned()]).await?;
            edited.map(|text| format!("{text} and released"))
        }
        (_, "queued") => {
            let note = "it was to be sent later, so it stays held; to send it now: \
                        postrider outbox release";
            edited.map(|text| format!("{text}; {note} {id}"))
        }
        (_, "failed") => {
            edited.map(|text| format!("{text}; to send it: postrider outbox retry {id}"))
        }
        _ => edited.map(|text| format!("{text}; to send it: postrider outbox release {id}")),
    }
}

fn in_editor(root: &Path, id: &str) -> Result<String, Complaint> {
    let failed = |err: io::Error| {
        Complaint::plain(74, &format!("edit message {id}: {err}; it is as it was"))
    };
    let file = find(root, id).map_err(failed)?;
    let copy = root.join("tmp").join(format!("edit-{id}.eml"));
    let _leftover = fs::remove_file(&copy);
    let mut to =
        File::options().write(true).create_new(true).mode(0o600).open(&copy).map_err(failed)?;
    io::copy(&mut File::open(&file).map_err(failed)?, &mut to).map_err(failed)?;
    drop(to);
    let done = run_editor(&copy).and_then(|()| put_back(&copy, &file));
    let _gone = fs::remove_file(&copy);
    done.map(|()| format!("edited {id}")).map_err(failed)
}

/// The message's file: its flags are in its name.
fn find(root: &Path, id: &str) -> io::Result<PathBuf> {
    let parked = root.join("failed").join(id);
    if fs::symlink_metadata(&parked).is_ok_and(|meta| meta.is_file()) {
        return Ok(parked);
    }
    let prefix = format!("{id}:2,");
    for entry in fs::read_dir(root.join("cur"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            return Ok(entry.path());
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn run_editor(file: &Path) -> io::Result<()> {
    let set = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let editor = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".into());
    // Arguments are common in it, and a shell is not needed for them.
    let text = editor.to_string_lossy().into_owned();
    let mut words = text.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or("vi"));
    let status = command.args(words).arg(file).status().map_err(|err| {
        io::Error::new(err.kind(), format!("start the editor {text:?}: {err}; set EDITOR"))
    })?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("the editor ended with {status}")))
    }
}

/// Puts the edited text in the place of the message, durably.
fn put_back(copy: &Path, file: &Path) -> io::Result<()> {
    let text = File::open(copy)?;
    if text.metadata()?.len() == 0 {
        return Err(io::Error::other("the edited file is empty"));
    }
    text.sync_all()?;
    // A file that is gone was sent or cancelled meanwhile, and must not come back.
    fs::symlink_metadata(file)?;
    fs::rename(copy, file)?;
    file.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
